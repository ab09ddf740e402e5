"""fmtc: feature-map transform coding for PyTorch.

Compress the tensors that a CNN writes to memory between its layers: channel PCA, uniform
quantiser, entropy coder, real decodable streams; calibrated after training, without labels.

>>> cm = fmtc.compress(model, images, target=fmtc.Step(0.02))
>>> y = cm(x)
>>> print(cm.report())  # doctest: +ELLIPSIS
bits per value over ...
"""

from importlib.metadata import PackageNotFoundError, version

from .calibration.compressor import Compressor, compress
from .calibration.tensor import calibrate_tensor
from .codec.block import Block
from .codec.bundle import Bundle
from .codec.codec import TensorCodec
from .codec.coders import Coder, register_coder
from .codec.ranges import register_range
from .config import CompressConfig
from .deploy.export import export, export_plain, export_reference
from .deploy.split import Split, load_split, split
from .errors import CalibrationError, ExportError, StorageError, StreamError, TraceError
from .evaluation.evaluate import evaluate
from .evaluation.reference import Reference
from .model.model import CompressedModel, load
from .model.report import Report
from .network.fingerprint import fingerprint
from .presets import (
    PRESETS,
    BitsPreset,
    Preset,
    StepPreset,
    list_presets,
    register_preset,
)
from .targets import KL, SNR, AccuracyDrop, Agreement, Bits, Rate, Step, TargetError

try:
    __version__ = version("fmtc")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "unknown"

__all__ = [
    "AccuracyDrop",
    "Agreement",
    "KL",
    "Bits",
    "BitsPreset",
    "Block",
    "Bundle",
    "CalibrationError",
    "Coder",
    "CompressConfig",
    "CompressedModel",
    "Compressor",
    "ExportError",
    "PRESETS",
    "Preset",
    "Rate",
    "Reference",
    "Report",
    "SNR",
    "Split",
    "Step",
    "StepPreset",
    "StorageError",
    "StreamError",
    "TargetError",
    "TensorCodec",
    "TraceError",
    "calibrate_tensor",
    "compress",
    "evaluate",
    "export",
    "export_plain",
    "export_reference",
    "fingerprint",
    "list_presets",
    "load",
    "load_split",
    "register_coder",
    "register_preset",
    "register_range",
    "split",
]
