#include "statistics.h"

#include <limits>

#include "check.h"
#include "fake_engine.h"

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

TEST(ReportSaysEverything) {
  const FakeEngine engine(2, 3, 4);
  infer::Timing timing;
  timing.run_ms = {10, 20, 30, 40};
  timing.batch = 2;
  timing.images = 7;
  timing.seconds_with_io = 0.14;
  CHECK_EQUAL(infer::FormatReport(timing, engine, "net.om"),
              "NN inference cost average time: 25.000 ms of infer_count 4\n"
              "model           net.om (fake, CPU)\n"
              "input           uint8 [2, 3]\n"
              "output          uint8 [2, 4]\n"
              "images          7 in 4 runs of batch 2\n"
              "latency of run  mean 25.000 ms, median 25.000 ms, p90 37.000 ms, p99 39.700 ms\n"
              "inference only  70.000 images/s\n"
              "with file I/O   50.000 images/s\n");
  timing.seconds_with_io = 0;
  const std::string report = infer::FormatReport(timing, engine, "net.om");
  CHECK(report.find("with file I/O   not measured (--loop)\n") != std::string::npos);
}

}  // namespace
