#pragma once

#include <cstdint>

namespace fmtc {

// What a function of the core returns instead of throwing. The numbers are part of the operators'
// interface (`status` tensors hold them): append, never renumber.
enum class Status : int32_t {
  kOk = 0,
  kTruncated = 1,         // the bytes end before the stream does
  kBadMagic = 2,          // not an fmtc stream
  kBadVersion = 3,        // a container version that this decoder does not know
  kBadCoder = 4,          // an unknown entropy coder, or another one than was asked for
  kBadNumber = 5,         // a number of the header that is not in its shortest form, or too large
  kBadHeader = 6,         // a header field is outside its range
  kBadChecksum = 7,       // the checksum of the stream (with one chunk) or its directory is wrong
  kBadDirectory = 8,      // chunk offsets are not in order or chunks too small for their values
  kBadChunkChecksum = 9,  // the checksum of a chunk does not match
  kWrongTables = 10,      // the stream was written with another table set
  kWrongShape = 11,       // the stream holds a tensor of another shape
  kBadCode = 12,          // a payload that does not decode, or not to its end
  kTrailingBytes = 13,    // bytes after the end of the stream
  kOutOfRange = 14,       // an input value (level, count, ...) outside the range it may have
  kBadTable = 15,         // code lengths, frequencies or table entries that make no code
  kBufferTooSmall = 16,   // the output does not fit into the span given for it
  kBadArgument = 17,      // spans whose sizes disagree, or a parameter outside its range
  kNoCode = 18,           // a level that its table has no code for
  kTooLarge = 19,         // the stream would exceed what its 32-bit offsets can address
  kNotFinite = 20,        // NaN or infinity where only finite numbers make sense
  kNotConverged = 21,     // the eigenvalue iteration did not converge
  kOutOfMemory = 22,      // work space could not be allocated
  kBadName = 23,          // a tensor's name in a bundle that is not valid, or is there twice
  kWrongStream = 24,      // a stream is not the one that the bundle's directory speaks of
  kOverLimit = 25,        // more values than the caller takes
};

// A sentence that says what is wrong; never null, also for numbers that are no Status.
const char* message(Status status) noexcept;

}  // namespace fmtc
