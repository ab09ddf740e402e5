#include "codec/safetensors_header.h"

#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

namespace fmtc::codec {
namespace {

using nlohmann::json;

constexpr const char* kMetadata = "__metadata__";
constexpr int kMostDepth = 64;  // of fields that are not known here, which are passed over

[[noreturn]] void fail(const std::string& why) { throw Error("its header is damaged: " + why); }

// Takes the parts of the JSON text in their order. Depth 1 is the object of all tensors, 2 a tensor
// or the metadata, 3 the numbers of a shape or of a place.
class Header : public json::json_sax_t {
 public:
  Header(std::map<std::string, TensorEntry>& entries, std::map<std::string, std::string>& metadata)
      : entries_(entries), metadata_(metadata) {}

  bool start_object(size_t) override {
    if (depth_ == 0) return open();
    if (depth_ == 1) {
      seen_ = 0;
      field_ = Field::kNone;
      return open();
    }
    return open_unknown();
  }
  bool key(std::string& name) override {
    if (depth_ == 1) begin_entry(name);
    if (depth_ == 2 && entry_ == nullptr) metadata_key_ = name;
    if (depth_ == 2 && entry_ != nullptr) begin_field(name);
    return true;
  }
  bool end_object() override {
    if (depth_ == 2 && entry_ != nullptr && seen_ != kAllFields) fail("a tensor is incomplete");
    return close();
  }
  bool start_array(size_t) override {
    const bool numbers = field_ == Field::kShape || field_ == Field::kOffsets;
    if (depth_ == 2 && numbers) {
      count_ = 0;
      return open();
    }
    return open_unknown();
  }
  bool end_array() override {
    if (depth_ == 3 && field_ == Field::kOffsets && count_ != 2) fail("a place has two numbers");
    return close();
  }
  bool string(std::string& text) override {
    if (depth_ == 2 && entry_ == nullptr) {
      metadata_[metadata_key_] = text;
    } else if (depth_ == 2 && field_ == Field::kDtype) {
      entry_->dtype = text;
    } else {
      return unknown();
    }
    return true;
  }
  bool number_unsigned(uint64_t value) override {
    if (depth_ != 3 || field_ == Field::kUnknown) return unknown();
    if (field_ == Field::kShape) {
      if (value > std::numeric_limits<int64_t>::max()) fail("a size is too large");
      entry_->shape.push_back(static_cast<int64_t>(value));
    } else {
      if (count_ == 2) fail("a place has two numbers");
      (count_ == 0 ? entry_->begin : entry_->end) = value;
    }
    ++count_;
    return true;
  }
  bool number_integer(int64_t) override { return unknown(); }
  bool number_float(double, const std::string&) override { return unknown(); }
  bool boolean(bool) override { return unknown(); }
  bool null() override { return unknown(); }
  bool binary(json::binary_t&) override { return unknown(); }
  bool parse_error(size_t, const std::string&, const json::exception& error) override {
    fail(error.what());
  }

 private:
  enum class Field { kNone, kDtype, kShape, kOffsets, kUnknown };
  static constexpr unsigned kAllFields = 7;

  void begin_entry(const std::string& name) {
    if (name == kMetadata) {
      if (std::exchange(has_metadata_, true)) fail("it has metadata twice");
      entry_ = nullptr;
      return;
    }
    const auto [at, added] = entries_.try_emplace(name);
    if (!added) fail("tensor '" + name + "' is there twice");
    entry_ = &at->second;
  }
  void begin_field(const std::string& name) {
    field_ = Field::kUnknown;
    if (name == "dtype") field_ = Field::kDtype;
    if (name == "shape") field_ = Field::kShape;
    if (name == "data_offsets") field_ = Field::kOffsets;
    if (field_ == Field::kUnknown) return;
    const unsigned bit = 1u << (static_cast<unsigned>(field_) - 1);
    if ((seen_ & bit) != 0) fail("a tensor has two of " + name);
    seen_ |= bit;
  }
  bool open() {
    ++depth_;
    return true;
  }
  bool close() {
    --depth_;
    return true;
  }
  // What belongs to no known field is passed over, anything else is refused.
  bool unknown() const {
    if (depth_ < 2 || field_ != Field::kUnknown) fail("it holds what no header does");
    return true;
  }
  bool open_unknown() {
    unknown();
    if (depth_ == kMostDepth) fail("it is nested too deeply");
    return open();
  }

  std::map<std::string, TensorEntry>& entries_;
  std::map<std::string, std::string>& metadata_;
  int depth_ = 0;
  bool has_metadata_ = false;
  TensorEntry* entry_ = nullptr;  // null: the metadata
  std::string metadata_key_;
  Field field_ = Field::kNone;
  unsigned seen_ = 0;  // fields of this tensor
  int count_ = 0;      // numbers of this field
};

}  // namespace

void parse_header(std::string_view text, std::map<std::string, TensorEntry>& entries,
                  std::map<std::string, std::string>& metadata) {
  // The parser takes a zero byte for the end of the text, and blanks before it for nothing.
  if (text.empty() || text.front() != '{') fail("it is no JSON object");
  if (text.find('\0') != std::string_view::npos) fail("a zero byte");
  Header header(entries, metadata);
  json::sax_parse(text.begin(), text.end(), &header);
}

}  // namespace fmtc::codec
