#pragma once

namespace fmtc::infer {

// Seconds that went into the operators of the encoder (prediction, classes of positions, streams)
// and of the decoder. The operators run one after the other, each on all threads.
struct CoderSeconds {
  double encode = 0;
  double decode = 0;
};

// Begins to watch fmtc's operators, in the whole process.
void watch_coder();
// What they took since the last call.
CoderSeconds take_coder_seconds();

}  // namespace fmtc::infer
