"""fmtc: feature-map transform coding for PyTorch.

Compress the tensors that a CNN writes to memory between its layers: channel PCA, uniform
quantiser, entropy coder, real decodable streams; calibrated after training, without labels.

>>> cm = fmtc.compress(model, calibration_images, target=fmtc.Rate(1.0))
>>> y = cm(x)
>>> print(cm.report())
"""

from importlib.metadata import PackageNotFoundError, version

from .codec import CalibrationError, TensorCodec, calibrate_tensor
from .evaluate import Reference, evaluate
from .export import ExportError, export, export_reference
from .graph import TraceError
from .model import CompressedModel, Compressor, compress, load
from .ops import StreamError
from .presets import PRESETS, Preset
from .report import Report
from .storage import StorageError, fingerprint
from .targets import SNR, AccuracyDrop, Agreement, Bits, Rate, Step, TargetError
from .transform import Block

try:
    __version__ = version("fmtc")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "unknown"

__all__ = [
    "AccuracyDrop",
    "Agreement",
    "Bits",
    "Block",
    "CalibrationError",
    "CompressedModel",
    "Compressor",
    "ExportError",
    "PRESETS",
    "Preset",
    "Rate",
    "Reference",
    "Report",
    "SNR",
    "Step",
    "StorageError",
    "StreamError",
    "TargetError",
    "TensorCodec",
    "TraceError",
    "calibrate_tensor",
    "compress",
    "evaluate",
    "export",
    "export_reference",
    "fingerprint",
    "load",
]
