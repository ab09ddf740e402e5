"""The command `fmtc`: what it understands, and how it reports errors.

Errors of use are one line on stderr and exit code 2; FMTC_DEBUG=1 shows where they came from.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import NoReturn

from ..codec.coders import CODERS
from ..errors import UsageError
from ..network.weights import WEIGHT_BITS
from ..presets import LANE_VALUES, PRESETS

DESCRIPTION = """\
Compress the feature maps that a network writes between its layers, with real streams, and measure
what that costs in accuracy."""

EXAMPLES = """\
examples:
  fmtc demo                                  see it work in a minute, nothing to download
  fmtc eval --model resnet18 --data val/     a torchvision network on your own images
  fmtc plot fmtc-results/result.json         draw the figure again
  fmtc info                                  versions and build flags, for bug reports

'fmtc COMMAND --help' explains each command. FMTC_DEBUG=1 shows a traceback for every error."""

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


class Parser(argparse.ArgumentParser):
    """An argument parser that raises UsageError instead of leaving the program."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see '{self.prog} --help')")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code: 0, 2 for an error of use, 130 when interrupted."""

    def command() -> None:
        args = build_parser().parse_args(argv)
        args.run(args)

    return main_with_errors("fmtc", command)


def main_with_errors(name: str, command: Callable[[], None]) -> int:
    """Run a command, showing its errors and warnings in a line each; returns the exit code."""
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            command()
    except KeyboardInterrupt:
        print(f"{name}: interrupted; what was finished is saved", file=sys.stderr)
        return 130
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        if os.environ.get("FMTC_DEBUG", "0") != "0":
            raise
        message = " ".join(str(error).split()) or type(error).__name__
        print(f"{name}: error: {message}", file=sys.stderr)
        return 2
    return 0


def _show_warning(message: Warning | str, *where: object) -> None:
    print(f"fmtc: warning: {message}", file=sys.stderr)


def build_parser() -> Parser:
    parser = Parser(
        prog="fmtc",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_demo(commands)
    add_eval_options(
        commands.add_parser(
            "eval",
            help="compress and evaluate a network on your data",
            description=EVAL_DESCRIPTION,
            epilog=EVAL_EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
    )
    _add_plot(commands)
    _add_info(commands)
    return parser


def add_eval_options(parser: Parser) -> Parser:
    """The options of `fmtc eval`; a result's command is read with them again to resume it."""
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
        "--num-classes", type=int, metavar="N", help="classes of a torchvision model, if not 1000"
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
        help="from image to input, in order: resize=S|HxW, crop=S|HxW, hflip, vflip, mean=, std= "
        "(one value, or a/b/c a channel); default: resize=256,crop=224 and ImageNet's mean and std",
    )
    data.add_argument(
        "--calib-images",
        type=int,
        default=64,
        metavar="N",
        help="images to calibrate with, never evaluated (default: %(default)s)",
    )
    data.add_argument(
        "--images", type=int, metavar="N", help="images to evaluate (default: all the others)"
    )
    coding = parser.add_argument_group("compression")
    coding.add_argument(
        "--preset", default="fmtc", choices=sorted(PRESETS), help="(default: %(default)s)"
    )
    coding.add_argument(
        "--target",
        nargs="+",
        metavar="KIND=VALUE,...",
        help="preset fmtc, one point a value: rate= bits per value, snr_db= of the outputs, "
        "agreement= share of images that keep their class, drop= percent of accuracy lost (with "
        "labels), step= the step itself (default: snr_db=10,15,20,25)",
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
        default="1,1,C",
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
    coding.add_argument("--coder", choices=CODERS, help="(default: the preset's)")
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
        type=int,
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
        default=32,
        choices=WEIGHT_BITS,
        help="32: float weights (default); 8, 4: quantised, each output channel on its own grid",
    )
    coding.add_argument(
        "--mode",
        default="stream",
        choices=["stream", "simulate"],
        help="real streams between the layers (default), or the same numbers faster without them",
    )
    run = parser.add_argument_group("run")
    run.add_argument("--batch", type=int, default=25, metavar="N", help="images at a time (25)")
    run.add_argument("--seed", type=int, default=0, help="of the split and of random weights (0)")
    run.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: torch's)")
    run.add_argument(
        "--device",
        default="cpu",
        choices=["cpu", "cuda"],
        help="where the networks run after calibration, which is on the CPU (default: cpu)",
    )
    run.add_argument(
        "--out", default="fmtc-results", metavar="DIR", help="where to write (default: %(default)s)"
    )
    run.add_argument(
        "--fresh", action="store_true", help="measure again, instead of resuming OUT/result.json"
    )
    run.add_argument("--quiet", action="store_true", help="no progress, only the table")
    parser.set_defaults(run=_eval)
    return parser


def _add_demo(commands: argparse._SubParsersAction) -> None:
    demo = commands.add_parser(
        "demo",
        help="train a small network on digits and compress it",
        description="Train a small residual network on scikit-learn's digits (once, some seconds), "
        "compress it at several rates with real streams, print a table, and write result.json and "
        "rate_distortion.png. Nothing is downloaded.",
    )
    demo.add_argument(
        "--out", default="fmtc-demo", metavar="DIR", help="where to write (default: %(default)s)"
    )
    demo.add_argument("--quiet", action="store_true", help="no progress, only the table")
    demo.set_defaults(run=_demo)


def _add_plot(commands: argparse._SubParsersAction) -> None:
    plot = commands.add_parser(
        "plot",
        help="draw a figure from a result.json",
        description="Draw accuracy and SNR against bits per value from a result.json, or with "
        "--layers the rates of one point's layers; or the figure of an experiment's JSON, as PNG "
        "and SVG.",
    )
    plot.add_argument("result", metavar="RESULT.json")
    plot.add_argument(
        "--layers",
        metavar="SETTING",
        help="draw the layers of the point with this setting, such as 8 or b=8, or snr_db=15",
    )
    plot.add_argument(
        "--out",
        metavar="FILE",
        help="PNG or SVG; default: rate_distortion.png or layers.png beside the result",
    )
    plot.set_defaults(run=_plot)


def _add_info(commands: argparse._SubParsersAction) -> None:
    info = commands.add_parser(
        "info",
        help="versions, build flags, SIMD level, CUDA: for bug reports",
        description="Print versions, build flags, SIMD level and CUDA support, for bug reports.",
    )
    info.set_defaults(run=_info)


# The commands import what they need, so that a wrong option is answered at once.


def _eval(args: argparse.Namespace) -> None:
    from .eval import run_eval

    run_eval(args)


def _demo(args: argparse.Namespace) -> None:
    from .demo import run_demo

    run_demo(args.out, quiet=args.quiet)


def _plot(args: argparse.Namespace) -> None:
    from .eval import run_plot

    run_plot(args.result, args.out, args.layers)


def _info(args: argparse.Namespace) -> None:
    from .info import info_text

    print(info_text())
