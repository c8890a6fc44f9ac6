#include "statistics.h"

#include <limits>

#include "check.h"

namespace {

using infer::Percentile;

TEST(PercentilesAreLinearBetweenRanks) {
  const std::vector<double> values = {40, 10, 30, 20};  // numpy.percentile gives the same
  CHECK_EQUAL(Percentile(values, 0), 10.0);
  CHECK_EQUAL(Percentile(values, 25), 17.5);
  CHECK_EQUAL(Percentile(values, 50), 25.0);
  CHECK_EQUAL(Percentile(values, 90), 37.0);
  CHECK_EQUAL(Percentile(values, 100), 40.0);
}

TEST(PercentilesOfOneValueAreThatValue) {
  for (double percent : {0.0, 50.0, 99.0, 100.0}) CHECK_EQUAL(Percentile({7.0}, percent), 7.0);
}

TEST(PercentilesNeverFallAndStayInside) {
  std::vector<double> values;
  for (int i = 0; i < 37; ++i) values.push_back((i * 29) % 37);
  double previous = -std::numeric_limits<double>::infinity();
  for (int percent = 0; percent <= 100; ++percent) {
    const double value = Percentile(values, percent);
    CHECK(value >= previous && value >= 0 && value <= 36);
    previous = value;
  }
}

TEST(MeanOfValues) { CHECK_EQUAL(infer::Mean({1.0, 2.0, 6.0}), 3.0); }

}  // namespace
