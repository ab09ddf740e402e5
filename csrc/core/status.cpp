#include "core/status.h"

namespace fmtc {

const char* message(Status status) noexcept {
  switch (status) {
    case Status::kOk:
      return "no error";
    case Status::kTruncated:
      return "the data end before the stream does";
    case Status::kBadMagic:
      return "this is no fmtc stream: it does not begin with \"fm\"";
    case Status::kBadVersion:
      return "the stream has a container version that this library does not know";
    case Status::kBadCoder:
      return "the stream was written by an entropy coder that cannot be decoded here";
    case Status::kBadNumber:
      return "a number in the stream's header has more bytes than it needs, or is too large";
    case Status::kBadHeader:
      return "a field of the stream's header is outside its range";
    case Status::kBadChecksum:
      return "the stream is damaged: its checksum does not match";
    case Status::kBadDirectory:
      return "the stream is inconsistent: its chunks are out of order or too small";
    case Status::kBadChunkChecksum:
      return "a chunk of the stream is damaged: its checksum does not match";
    case Status::kWrongTables:
      return "the stream was written with another table set than the one given";
    case Status::kWrongShape:
      return "the stream holds a tensor of another shape than expected";
    case Status::kBadCode:
      return "a chunk does not decode: it holds what is no code, or does not end with its last "
             "value";
    case Status::kTrailingBytes:
      return "there are bytes after the end of the stream";
    case Status::kOutOfRange:
      return "an input value is outside the range allowed for it";
    case Status::kBadTable:
      return "the code lengths, frequencies or table entries make no code";
    case Status::kBufferTooSmall:
      return "the output does not fit into the buffer given for it";
    case Status::kBadArgument:
      return "sizes of arguments disagree or a parameter is outside its range";
    case Status::kNoCode:
      return "a level has no code in its table";
    case Status::kTooLarge:
      return "the stream would exceed 4 GiB";
    case Status::kNotFinite:
      return "the input holds NaN or infinity";
    case Status::kNotConverged:
      return "the eigenvalue iteration did not converge";
    case Status::kOutOfMemory:
      return "not enough memory";
    case Status::kBadName:
      return "a tensor's name must be unique, and at most 255 bytes of UTF-8 without control "
             "characters";
    case Status::kWrongStream:
      return "the stream is damaged, or another one than was put there: its checksum in the "
             "bundle's directory does not match";
    case Status::kOverLimit:
      return "the stream holds more values than the limit that was set (max_values)";
  }
  return "unknown status";
}

}  // namespace fmtc
