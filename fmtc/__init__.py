"""fmtc: feature-map transform coding for PyTorch.

Compress the tensors that a CNN writes to memory between its layers: channel PCA, uniform
quantiser, entropy coder, real decodable streams; calibrated after training, without labels.

>>> cm = fmtc.compress(model, calibration_images, target=fmtc.Rate(1.0))
>>> y = cm(x)
>>> print(cm.report())
"""

from importlib.metadata import PackageNotFoundError, version

from .codec.codec import TensorCodec, calibrate_tensor
from .codec.transform import Block
from .deploy.export import export, export_reference
from .errors import CalibrationError, ExportError, StorageError, StreamError, TraceError
from .evaluation.evaluate import Reference, evaluate
from .model.model import CompressedModel, Compressor, compress, load
from .model.report import Report
from .model.storage import fingerprint
from .presets import PRESETS, Preset
from .targets import SNR, AccuracyDrop, Agreement, Bits, Rate, Step, TargetError

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
