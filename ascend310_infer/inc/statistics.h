#ifndef ASCEND310_INFER_STATISTICS_H_
#define ASCEND310_INFER_STATISTICS_H_

#include <vector>

namespace infer {

// The value below which `percent` % of the values lie, linear between the two nearest ranks (as NumPy does by default).
// `values` need not be sorted but must not be empty; 0 <= percent <= 100.
double Percentile(std::vector<double> values, double percent);

// Of at least one value.
double Mean(const std::vector<double>& values);

}  // namespace infer

#endif  // ASCEND310_INFER_STATISTICS_H_
