// Metadata is one small file: a reader of 150 lines is less to install on an inference machine than a library.
#include "json.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>

namespace infer {
namespace {

constexpr int kDeepest = 64;

[[noreturn]] void Expected(const char* what) { throw std::runtime_error(std::string("expected ") + what); }

}  // namespace

class JsonParser {
 public:
  explicit JsonParser(const std::string& text) : text_(text) {}

  Json Document() {
    Json value = Value(0);
    SkipSpace();
    if (position_ != text_.size()) Fail("nothing after the document");
    return value;
  }

 private:
  [[noreturn]] void Fail(const std::string& expected) const {
    throw std::runtime_error("expected " + expected + " at byte " + std::to_string(position_));
  }

  char Peek() const { return position_ < text_.size() ? text_[position_] : '\0'; }

  void SkipSpace() {
    while (Peek() == ' ' || Peek() == '\t' || Peek() == '\n' || Peek() == '\r') ++position_;
  }

  // Whether the next characters are `token`, which are then passed.
  bool Accept(const std::string& token) {
    if (text_.compare(position_, token.size(), token) != 0) return false;
    position_ += token.size();
    return true;
  }

  Json Value(int depth) {
    if (depth > kDeepest) Fail("less nesting");
    SkipSpace();
    Json result;
    switch (Peek()) {
      case '{':
        result.value_ = ObjectValue(depth);
        break;
      case '[':
        result.value_ = ArrayValue(depth);
        break;
      case '"':
        result.value_ = String();
        break;
      default:
        if (Accept("true")) {
          result.value_ = true;
        } else if (Accept("false")) {
          result.value_ = false;
        } else if (!Accept("null")) {
          result.value_ = Number();
        }
    }
    return result;
  }

  Json::Object ObjectValue(int depth) {
    Json::Object object;
    ++position_;
    SkipSpace();
    if (Accept("}")) return object;
    do {
      SkipSpace();
      if (Peek() != '"') Fail("a key in quotes");
      const std::string key = String();
      SkipSpace();
      if (!Accept(":")) Fail("':'");
      if (!object.emplace(key, Value(depth + 1)).second) Fail("each key once, found another \"" + key + "\"");
      SkipSpace();
    } while (Accept(","));
    if (!Accept("}")) Fail("',' or '}'");
    return object;
  }

  Json::Array ArrayValue(int depth) {
    Json::Array array;
    ++position_;
    SkipSpace();
    if (Accept("]")) return array;
    do {
      array.push_back(Value(depth + 1));
      SkipSpace();
    } while (Accept(","));
    if (!Accept("]")) Fail("',' or ']'");
    return array;
  }

  std::string String() {
    std::string result;
    for (++position_; Peek() != '"'; ++position_) {
      if (position_ >= text_.size() || static_cast<unsigned char>(Peek()) < ' ') Fail("the end of a string");
      if (Peek() != '\\') {
        result += Peek();
        continue;
      }
      ++position_;
      const std::string escapes = "\"\\/bfnrt", meanings = "\"\\/\b\f\n\r\t";
      const size_t index = escapes.find(Peek());
      if (Peek() == 'u') {
        AppendUtf8(CodePoint(), &result);
      } else if (Peek() != '\0' && index != std::string::npos) {
        result += meanings[index];
      } else {
        Fail("an escape");
      }
    }
    ++position_;
    return result;
  }

  // Of "uXXXX", or of a surrogate pair; ends at its last digit.
  unsigned CodePoint() {
    unsigned code = FourDigits();
    if (code >= 0xD800 && code < 0xDC00 && text_.compare(position_ + 1, 2, "\\u") == 0) {
      position_ += 2;
      const unsigned low = FourDigits();
      if (low < 0xDC00 || low > 0xDFFF) Fail("the second half of a surrogate pair");
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    return code;
  }

  unsigned FourDigits() {
    unsigned code = 0;
    const char* const first = text_.data() + ++position_;
    const size_t most = std::min<size_t>(4, text_.size() - position_);
    const auto digits = static_cast<size_t>(std::from_chars(first, first + most, code, 16).ptr - first);
    if (digits < 4) {
      position_ += digits;
      Fail("four hexadecimal digits");
    }
    position_ += 3;
    return code;
  }

  static void AppendUtf8(unsigned code, std::string* text) {
    const auto add = [text](unsigned byte) { *text += static_cast<char>(byte); };
    if (code < 0x80) {
      add(code);
    } else if (code < 0x800) {
      add(0xC0 | code >> 6);
      add(0x80 | (code & 0x3F));
    } else if (code < 0x10000) {
      add(0xE0 | code >> 12);
      add(0x80 | (code >> 6 & 0x3F));
      add(0x80 | (code & 0x3F));
    } else {
      add(0xF0 | code >> 18);
      add(0x80 | (code >> 12 & 0x3F));
      add(0x80 | (code >> 6 & 0x3F));
      add(0x80 | (code & 0x3F));
    }
  }

  double Number() {
    const size_t end = text_.find_first_not_of("+-.0123456789eE", position_);
    const std::string token = text_.substr(position_, end - position_);
    const bool starts_well = !token.empty() && (token[0] == '-' || (token[0] >= '0' && token[0] <= '9'));
    char* stop = nullptr;
    const double number = std::strtod(token.c_str(), &stop);  // the program never leaves the "C" locale
    if (!starts_well || *stop != '\0' || !std::isfinite(number)) Fail("a value");
    position_ += token.size();
    return number;
  }

  const std::string& text_;
  size_t position_ = 0;
};

Json Json::Parse(const std::string& text) { return JsonParser(text).Document(); }

bool Json::AsBool() const {
  if (const bool* value = std::get_if<bool>(&value_)) return *value;
  Expected("true or false");
}

double Json::AsNumber() const {
  if (const double* value = std::get_if<double>(&value_)) return *value;
  Expected("a number");
}

int Json::AsInt() const {
  const double number = AsNumber();
  if (number != std::floor(number) || std::fabs(number) > 1e9) Expected("a whole number");
  return static_cast<int>(number);
}

const std::string& Json::AsString() const {
  if (const std::string* value = std::get_if<std::string>(&value_)) return *value;
  Expected("a text");
}

const Json::Array& Json::AsArray() const {
  if (const Array* value = std::get_if<Array>(&value_)) return *value;
  Expected("a list");
}

const Json::Object& Json::AsObject() const {
  if (const Object* value = std::get_if<Object>(&value_)) return *value;
  Expected("an object");
}

const Json& Json::operator[](const std::string& key) const {
  const Object& object = AsObject();
  const auto found = object.find(key);
  if (found == object.end()) throw std::runtime_error("expected the key \"" + key + "\"");
  return found->second;
}

namespace {

// Bytes of the UTF-8 character that begins at `text`[`i`]; 0 if none does.
size_t CharacterBytes(const std::string& text, size_t i) {
  const auto byte = [&text](size_t k) { return k < text.size() ? static_cast<unsigned char>(text[k]) : 0u; };
  const unsigned first = byte(i);
  if (first < 0x80) return 1;
  const size_t bytes = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4) return 0;
  for (size_t k = 1; k < bytes; ++k) {
    if ((byte(i + k) & 0xc0) != 0x80) return 0;
  }
  const unsigned second = byte(i + 1);  // neither longer than necessary, nor a surrogate, nor beyond Unicode
  if ((first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f)) return 0;
  if ((first == 0xf0 && second < 0x90) || (first == 0xf4 && second > 0x8f)) return 0;
  return bytes;
}

std::string Escape(unsigned code) {
  char escape[7];
  std::snprintf(escape, sizeof(escape), "\\u%04x", code);
  return escape;
}

}  // namespace

std::string JsonString(const std::string& text) {
  std::string result = "\"";
  for (size_t i = 0; i < text.size();) {
    const auto c = static_cast<unsigned char>(text[i]);
    const size_t bytes = CharacterBytes(text, i);
    if (bytes == 0 || c < ' ') {
      result += Escape(bytes == 0 ? 0xdc00 + c : c);
    } else {
      if (c == '"' || c == '\\') result += '\\';
      result.append(text, i, bytes);
    }
    i += std::max<size_t>(bytes, 1);
  }
  return result + "\"";
}

}  // namespace infer
