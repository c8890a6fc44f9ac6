#ifndef ASCEND310_INFER_JSON_H_
#define ASCEND310_INFER_JSON_H_

#include <map>
#include <string>
#include <variant>
#include <vector>

namespace infer {

// A value of a JSON document. The accessors throw std::runtime_error, which says what was expected and found.
class Json {
 public:
  using Array = std::vector<Json>;
  using Object = std::map<std::string, Json>;

  Json() = default;  // null

  // Parses a whole document. Throws std::runtime_error with the position of the first error; duplicate keys, nesting
  // deeper than 64 and anything after the document are errors.
  static Json Parse(const std::string& text);

  bool AsBool() const;
  double AsNumber() const;
  int AsInt() const;  // a whole number
  const std::string& AsString() const;
  const Array& AsArray() const;
  const Json& operator[](const std::string& key) const;  // of an object that must have it

 private:
  friend class JsonParser;
  const Object& AsObject() const;
  std::variant<std::nullptr_t, bool, double, std::string, Array, Object> value_ = nullptr;
};

// With quotes, and escapes where they are needed. A byte 0xab that is no UTF-8, as a path may have it, becomes \udcab,
// which Python's os.fsencode turns back.
std::string JsonString(const std::string& text);

}  // namespace infer

#endif  // ASCEND310_INFER_JSON_H_
