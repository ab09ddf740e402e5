#pragma once

#include "codec/layer.h"
#include "codec/tensor_codec.h"

namespace fmtc::codec {

// The tables of a layer, made from its calibration counts as Python makes them: streams would
// differ otherwise. The codec has all but its tables.
Tables load_tables(const Layer& layer, const TensorCodec& codec);

}  // namespace fmtc::codec
