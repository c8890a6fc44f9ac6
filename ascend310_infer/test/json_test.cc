#include "json.h"

#include <random>
#include <stdexcept>

#include "check.h"

namespace {

using infer::Json;

std::string ProblemOf(const std::string& text) {
  try {
    Json::Parse(text);
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "";
}

TEST(JsonValuesAreRead) {
  const Json json =
      Json::Parse(R"( {"a": [1, -2.5e1, true, null], "b": {"c": "x\"\\\/\n\u00e9\ud83d\ude00"}, "d": {}} )");
  CHECK_EQUAL(json["a"].AsArray().size(), size_t{4});
  CHECK_EQUAL(json["a"].AsArray()[0].AsInt(), 1);
  CHECK_EQUAL(json["a"].AsArray()[1].AsNumber(), -25.0);
  CHECK_EQUAL(json["a"].AsArray()[2].AsBool(), true);
  CHECK_EQUAL(json["b"]["c"].AsString(), "x\"\\/\n\xc3\xa9\xf0\x9f\x98\x80");
}

TEST(JsonProblemsHaveAPosition) {
  CHECK_EQUAL(ProblemOf(""), "expected a value at byte 0");
  CHECK_EQUAL(ProblemOf("{\"a\" 1}"), "expected ':' at byte 5");
  CHECK_EQUAL(ProblemOf("[1, 2"), "expected ',' or ']' at byte 5");
  CHECK_EQUAL(ProblemOf("[1] x"), "expected nothing after the document at byte 4");
  CHECK_EQUAL(ProblemOf("\"abc"), "expected the end of a string at byte 4");
  CHECK_EQUAL(ProblemOf("{\"a\": 1, \"a\": 2}"), "expected each key once, found another \"a\" at byte 15");
  CHECK_EQUAL(ProblemOf("\"\\ud800\\u0041\""), "expected the second half of a surrogate pair at byte 12");
  CHECK_EQUAL(ProblemOf("\"\\u00-1\""), "expected four hexadecimal digits at byte 5");
  CHECK_EQUAL(ProblemOf("\"\\u+001\""), "expected four hexadecimal digits at byte 3");
  CHECK_EQUAL(ProblemOf("\"\\u00"), "expected four hexadecimal digits at byte 5");
  CHECK_EQUAL(ProblemOf(std::string(1000, '[')), "expected less nesting at byte 65");
  for (const char* text : {"nul", "+1", "1e999", "0x10", "NaN", "'a'", "\"\\x\"", "\"\\u12g4\"", "{1: 2}", "1-2"}) {
    CHECK(!ProblemOf(text).empty());
  }
}

TEST(JsonOfAnotherTypeIsNamed) {
  const Json json = Json::Parse("{\"a\": 1.5}");
  const auto problem = [](auto access) {
    try {
      access();
    } catch (const std::runtime_error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  CHECK_EQUAL(problem([&] { json["a"].AsString(); }), "expected a text");
  CHECK_EQUAL(problem([&] { json["a"].AsInt(); }), "expected a whole number");
  CHECK_EQUAL(problem([&] { json["b"]; }), "expected the key \"b\"");
  CHECK_EQUAL(problem([&] { json["a"]["c"]; }), "expected an object");
  CHECK_EQUAL(problem([&] { json.AsArray(); }), "expected a list");
  CHECK_EQUAL(problem([&] { json.AsBool(); }), "expected true or false");
}

TEST(JsonStringsAreEscaped) {
  CHECK_EQUAL(infer::JsonString("a\"b\\c\n\x01"), "\"a\\\"b\\\\c\\u000a\\u0001\"");
  CHECK_EQUAL(Json::Parse(infer::JsonString("a\"b\\c\n\xc3\xa9")).AsString(), "a\"b\\c\n\xc3\xa9");
}

TEST(BytesThatAreNoUtf8AreEscaped) {
  const std::string good = "\xc3\xa9 \xe6\xa8\xa1 \xed\x9f\xbf \xf0\x9f\x98\x80 \xf4\x8f\xbf\xbf";
  CHECK_EQUAL(infer::JsonString(good), "\"" + good + "\"");
  CHECK_EQUAL(infer::JsonString("\xc4\xa3\xd0\xcd."), "\"\xc4\xa3\\udcd0\\udccd.\"");  // GBK
  CHECK_EQUAL(infer::JsonString("\xe6\xa8"), "\"\\udce6\\udca8\"");                    // cut off
  CHECK_EQUAL(infer::JsonString("\xc0\x80"), "\"\\udcc0\\udc80\"");                    // longer than necessary
  CHECK_EQUAL(infer::JsonString("\xed\xa0\x80"), "\"\\udced\\udca0\\udc80\"");         // a surrogate
  CHECK_EQUAL(infer::JsonString("\xf4\x90\x80\x80"), "\"\\udcf4\\udc90\\udc80\\udc80\"");
  CHECK_EQUAL(infer::JsonString("\xff"), "\"\\udcff\"");
}

TEST(MutatedJsonIsReadOrRefused) {
  const std::string good = R"({"a": [1, -2.5e1, true, null], "b": {"c": "x\"\\\u00e9\ud83d\ude00"}})";
  std::mt19937 random(1);
  int refused = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string text = good;
    for (int i = 0; i < 2; ++i) text[random() % text.size()] = static_cast<char>(random());
    if (round % 3 == 0) text.resize(random() % text.size());
    refused += ProblemOf(text).empty() ? 0 : 1;
  }
  CHECK(refused > 10000 && refused < 20000);
}

}  // namespace
