"""The options of `fmtc eval`: how they are read, what they mean together, the command they make."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields
from itertools import groupby
from typing import Any

from ..codec.coders import LANE_VALUES, coders
from ..config import CompressConfig
from ..errors import UsageError
from ..network.groups import POINTS
from ..network.weights import WEIGHT_BITS
from ..presets import MAX_CLASSES, BitsPreset, get_preset, list_presets
from ..results.result import PLAIN_BITS
from ..targets import SNR, Bits, Target, parse_targets
from .command import Parser, whole_number

EVAL_DESCRIPTION = """\
Compress a network for several targets and evaluate each: bits per value (entropy, Huffman, real
streams), accuracy, agreement with the uncompressed network and SNR of the outputs. Writes
OUT/result.json after every point, and OUT/rate_distortion.png.

Preset fmtc has one quantiser step for the whole network. --target says what it shall reach on the
calibration images; the step is then searched for, with some calibrations a point. All others have
a step a layer, from --bits: paper and paper-robust, and what they are compared with, at the same
coding points and with the same Huffman coder:
  q, q-vlc     the paper's quantiser without PCA, at b bits a value and Huffman coded
  gemmlowp     range [min, max] of the activation's output
  aciq, kld    range by analytical clipping, by least Kullback-Leibler divergence
  pca+aciq, pca+kld   the same after the paper's PCA
  ebpc, dct-cm lossless bit-plane coding, masked DCT over channels, with coders of their own
--table-classes 8 gives each layer the 8 coder tables that preset fmtc has, instead of one."""

EVAL_EXAMPLES = """\
examples:
  ImageNet's validation set as an ImageFolder (1000 subfolders), torchvision's own weights:
    fmtc eval --model resnet50 --weights DEFAULT --data imagenet/val --images 1000

  the points you want: rates in bits per value, and the coarsest step that loses 0.1 % of accuracy:
    fmtc eval --model resnet50 --data imagenet/val --target rate=1.0,1.5,2.0 drop=0.1

  the paper's scheme and another one, b = 6, 7 and 8:
    fmtc eval --model resnet50 --data imagenet/val --preset paper --bits 6 7 8 --out paper
    fmtc eval --model resnet50 --data imagenet/val --preset aciq --bits 6 7 8 --out aciq

  a flat folder with labels.csv (file,label) and weights of your own:
    fmtc eval --model mobilenet_v2 --weights weights.safetensors --data images \\
        --labels labels.csv --preprocess "resize=256,crop=224,mean=0.5,std=0.5"

  CIFAR-10 as an .npz (images uint8 NCHW or NHWC, labels), ten classes, small images made larger:
    fmtc eval --model resnet18 --num-classes 10 --weights resnet18_cifar10.pth --data test.npz \\
        --preprocess "resize=64,mean=.485/.456/.406,std=.229/.224/.225"

  your own network: net.py has a function make_net() that returns it, weights and all:
    fmtc eval --model net.py:make_net --data images --calib-images 32

  several processes, each evaluating a share of the images:
    torchrun --nproc-per-node 4 -m fmtc eval --model resnet50 --data imagenet/val

The same command again goes on where it was interrupted; more targets add points."""

DEFAULT_TARGETS: list[Target] = [SNR(10), SNR(15), SNR(20), SNR(25)]  # of presets without a b
# Options that change no figure of a point, or are that point's own setting.
FREE_OPTIONS = ("target", "bits", "batch", "threads", "device", "out", "export", "html",
                "fresh", "quiet", "json")  # fmt: skip
NOT_IN_COMMANDS = ("html", "fresh", "quiet", "json")
MOST_SEED = 2**32 - 1  # of numpy's generator


@dataclass(frozen=True)
class EvalOptions:
    """What `fmtc eval` is asked for; the fields are its options, `add_eval_options` explains them.

    One option of several words is a tuple. The defaults here are those of the command line.
    """

    model: str
    data: str
    weights: str | None = None
    num_classes: int | None = None
    outputs: tuple[str, ...] | None = None
    labels: str | None = None
    class_index: str | None = None
    preprocess: str | None = None
    calib_images: int = 64
    images: int | None = None
    preset: str = "fmtc"
    target: tuple[str, ...] = ()
    bits: tuple[int, ...] = ()
    block: str = "1,1,C"
    include: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    coder: str | None = None
    lane_values: int | None = None
    table_classes: int | None = None
    compensate: bool | None = None
    weight_bits: int = 32
    points: str = "all"
    uncoded_bits: float = PLAIN_BITS
    mode: str = "stream"
    batch: int = 25
    seed: int = 0
    threads: int | None = None
    device: str = "cpu"
    out: str = "fmtc-results"
    export: str | None = None
    html: bool = False
    fresh: bool = False
    quiet: bool = False
    json: bool = False

    @classmethod
    def of(cls, args: argparse.Namespace) -> EvalOptions:
        """From what a parser with `add_eval_options` has read."""
        values: dict[str, Any] = {}
        for field in fields(cls):
            value = getattr(args, field.name)
            values[field.name] = tuple(value) if isinstance(value, list) else value
        return cls(**values)

    @classmethod
    def parse(cls, words: Sequence[str]) -> EvalOptions:
        """From the words behind `fmtc eval`. UsageError for what they cannot be."""
        return cls.of(add_eval_options(Parser("fmtc eval")).parse_args(words))

    def targets(self) -> list[Target]:
        """What --bits or --target ask for, each once; the preset's default points without them.

        ValueError: a target that the preset does not take, or of no such kind or value.
        """
        preset = get_preset(self.preset)
        targets: list[Target] = [Bits(bits) for bits in self.bits]
        for text in self.target:
            targets += parse_targets(text)
        if any(isinstance(target, Bits) != (preset.knob == "b") for target in targets):
            raise UsageError(
                f"preset {preset.name} has a b: give --bits 7 8, or --preset fmtc with --target"
                if preset.knob == "b"
                else f"preset {preset.name} has no b: give --target rate=1.0,2.0 or snr_db=15, or "
                "--preset paper with --bits"
            )
        for target in targets:
            if isinstance(target, Bits) and isinstance(preset, BitsPreset):
                preset.check_bits(target.value)
        if not targets and isinstance(preset, BitsPreset):
            return [Bits(preset.default_bits)]
        return list(dict.fromkeys(targets or DEFAULT_TARGETS))

    def config(self) -> CompressConfig:
        """What of it concerns the compression. ValueError names an option with a wrong value."""
        return CompressConfig(
            preset=self.preset,
            block=self.block,
            coder=self.coder,
            lane_values=self.lane_values,
            table_classes=self.table_classes,
            compensate=self.compensate,
            include=self.include,
            exclude=self.exclude,
            outputs=self.outputs,
            weight_bits=self.weight_bits,
            points=self.points,
            uncoded_bits=self.uncoded_bits,
            mode=self.mode,
            seed=self.seed,
        )

    def command_line(self, targets: Sequence[Target]) -> str:
        """The command that measures these points, with every option that is not the default."""
        words = ["fmtc", "eval"]
        for name, value in {**vars(self), **_options_for(targets)}.items():
            if name not in NOT_IN_COMMANDS and (name == "preset" or value != DEFAULTS.get(name)):
                words += _words(name, value)
        return shlex.join(words)

    def differences(self, command: str) -> list[str]:
        """The options of an earlier command by which its points are not comparable to these."""
        try:
            earlier = EvalOptions.parse(shlex.split(command)[2:])
        except ValueError:
            return [f"made by {command!r}"]
        return [
            " ".join(_words(name, value))
            for name, value in vars(earlier).items()
            if name not in FREE_OPTIONS and value != getattr(self, name)
        ]


# Of those that need not be given.
DEFAULTS: dict[str, Any] = {
    field.name: field.default for field in fields(EvalOptions) if field.default is not MISSING
}


def _options_for(targets: Sequence[Target]) -> dict[str, tuple[str, ...]]:
    """--bits and --target that ask for these."""
    bits = tuple(str(target.value) for target in targets if isinstance(target, Bits))
    others = [target for target in targets if not isinstance(target, Bits)]
    kinds = groupby(others, key=lambda target: target.kind)
    return {
        "target": tuple(
            f"{kind}={','.join(str(target).partition('=')[2] for target in group)}"
            for kind, group in kinds
        ),
        "bits": bits,
    }


def _words(name: str, value: Any) -> list[str]:
    """An option as a command line has it."""
    name = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{name}" if value else f"--no-{name}"]
    return [f"--{name}", *map(str, value if isinstance(value, tuple) else [value])]


def add_measuring_options(parser: Parser) -> Parser:
    """Let a parser read what to measure and how, for `EvalOptions.of`; returns the parser."""
    network = parser.add_argument_group("network")
    network.add_argument(
        "--model",
        required=True,
        metavar="NAME",
        help="a torchvision classification model, or path/to/file.py:function that returns one",
    )
    network.add_argument(
        "--weights",
        metavar="FILE|DEFAULT|none",
        help="a state_dict (.safetensors or .pth, any float precision), DEFAULT: torchvision's own "
        "download, none: as initialised; default: DEFAULT for a torchvision name, none for a file",
    )
    network.add_argument(
        "--num-classes",
        type=whole_number(1),
        metavar="N",
        help="classes of a torchvision model, if not 1000",
    )
    network.add_argument(
        "--outputs",
        nargs="+",
        metavar="PATTERN",
        help="of a network with several outputs those that are measured and decide a target: names "
        "like boxes or 'head.*', in a tuple 0, 1, ... (default: all)",
    )
    data = parser.add_argument_group("data")
    data.add_argument(
        "--data",
        required=True,
        metavar="PATH",
        help="a folder of images, an ImageFolder (subfolders are classes), or an .npz with images "
        "(uint8, NCHW or NHWC) and labels",
    )
    data.add_argument(
        "--labels", metavar="FILE", help="CSV with the header file,label for a folder of images"
    )
    data.add_argument(
        "--class-index",
        metavar="FILE",
        help="JSON or CSV that maps an ImageFolder's folder names to class indices",
    )
    data.add_argument(
        "--preprocess",
        metavar="STEPS",
        help="from image to input, in order: resize=S|HxW, crop=S|HxW, hflip, vflip, grey, mean=, "
        "std= (one value, or a/b/c a channel); default: resize=256,crop=224 and ImageNet's mean "
        "and std",
    )
    data.add_argument(
        "--calib-images",
        type=whole_number(1),
        metavar="N",
        help="images to calibrate with, never evaluated (default: %(default)s)",
    )
    data.add_argument(
        "--images",
        type=whole_number(1),
        metavar="N",
        help="images to evaluate (default: all the others)",
    )
    coding = parser.add_argument_group("compression")
    coding.add_argument("--preset", choices=sorted(list_presets()), help="(default: %(default)s)")
    coding.add_argument(
        "--target",
        nargs="+",
        metavar="KIND=VALUE,...",
        help="preset fmtc, one point a value: rate= bits per value, snr_db= of the worst output, "
        "kl= nats of a classifier's outputs, agreement= share of images that keep their class, "
        "drop= percent of accuracy lost (with labels), step= the step itself (default: "
        "snr_db=10,15,20,25; of fmtc split agreement=0.99)",
    )
    coding.add_argument(
        "--bits",
        type=int,
        nargs="+",
        metavar="B",
        help="all other presets: b, one point each, 2 to 12, or to 10 with the methods compared "
        "with; with paper a layer's step is its range / (2^b - 2) (default: 8)",
    )
    coding.add_argument(
        "--block",
        metavar="h,w,c",
        help="block that is transformed together; C is all channels (default: %(default)s)",
    )
    coding.add_argument(
        "--include", nargs="+", metavar="PATTERN", help="code only layers like 'layer1.*'"
    )
    coding.add_argument(
        "--exclude",
        nargs="+",
        metavar="PATTERN",
        help="leave these layers out; they are quantised to 8 bit and counted so",
    )
    coding.add_argument("--coder", choices=coders.names(), help="(default: the preset's)")
    coding.add_argument(
        "--lane-values",
        type=int,
        choices=(0, *LANE_VALUES),
        metavar="N",
        help="values that one lane of a stream codes, a GPU's thread: a power of two from 256 to "
        "65536, fewer for more lanes and more side bytes, or 0 for the coder's own choice "
        "(default: the preset's)",
    )
    coding.add_argument(
        "--table-classes",
        type=whole_number(1, MAX_CLASSES),
        metavar="N",
        help="coder tables of a layer: 1, or one for each of up to N (16) classes of components "
        "(default: the preset's)",
    )
    coding.add_argument(
        "--compensate",
        action=argparse.BooleanOptionalAction,
        help="refit each convolution to its decoded inputs (default: the preset's)",
    )
    coding.add_argument(
        "--weight-bits",
        type=int,
        choices=WEIGHT_BITS,
        help="32: float weights (default); 8, 4: quantised, each output channel on its own grid",
    )
    coding.add_argument(
        "--points",
        choices=POINTS,
        help="code all tensors that are written and have channels and positions (default), or, as "
        "the paper counts, what 2-d convolutions give, alone",
    )
    coding.add_argument(
        "--uncoded-bits",
        type=float,
        metavar="BITS",
        help="of a value that is written and not coded, where rates are of all that is written "
        "(default: %(default)g)",
    )
    coding.add_argument(
        "--mode",
        choices=["stream", "simulate"],
        help="real streams between the layers (default), or the same numbers faster without them",
    )
    run = parser.add_argument_group("run")
    run.add_argument(
        "--batch", type=whole_number(1), metavar="N", help="images at a time (%(default)s)"
    )
    run.add_argument(
        "--seed",
        type=whole_number(0, MOST_SEED),
        metavar="N",
        help="of the split and of random weights (%(default)s)",
    )
    run.add_argument(
        "--threads", type=whole_number(1), metavar="N", help="CPU threads (default: torch's)"
    )
    run.add_argument(
        "--device",
        choices=["cpu", "cuda"],
        help="where networks are calibrated and run (default: cpu)",
    )
    run.add_argument("--out", metavar="DIR", help="where to write (default: %(default)s)")
    run.add_argument(
        "--fresh", action="store_true", help="measure again, instead of resuming OUT/result.json"
    )
    run.add_argument("--quiet", action="store_true", help="no progress, only the table")
    parser.set_defaults(**DEFAULTS)
    return parser


def add_eval_options(parser: Parser) -> Parser:
    """Those, and what else `fmtc eval` writes."""
    written = add_measuring_options(parser).add_argument_group("also written")
    written.add_argument(
        "--export",
        metavar="DIR",
        help="write a package of each point and one of the uncompressed network there, to measure "
        "without Python: fmtc_eval DIR/PRESET-*.pt2 --data PATH; takes minutes a point",
    )
    written.add_argument(
        "--html", action="store_true", help="also write OUT/report.html, a page to look at"
    )
    written.add_argument(
        "--json",
        action="store_true",
        help="on stdout a line of JSON for each point, when it is measured, instead of the table",
    )
    return parser
