"""The command `fmtc`: its commands, and how it reports errors.

Errors of use are one line on stderr and exit code 2; FMTC_DEBUG=1 shows where they came from.
Completion is argcomplete's, where that is installed: eval "$(register-python-argcomplete fmtc)".
"""
# PYTHON_ARGCOMPLETE_OK

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from .. import __version__
from .command import Parser, main_with_errors
from .options import (
    EVAL_DESCRIPTION,
    EVAL_EXAMPLES,
    EvalOptions,
    add_eval_options,
    add_measuring_options,
)
from .service_options import (
    SEND_DESCRIPTION,
    SERVE_DESCRIPTION,
    SERVE_EXAMPLES,
    add_send_options,
    add_serve_options,
)

DESCRIPTION = """\
Compress the feature maps that a network writes between its layers, with real streams, and measure
what that costs in accuracy."""

SPLIT_DESCRIPTION = """\
Cut a network where tensors cross from a head to a tail, which may run on another machine; what
crosses are real streams, and nothing else is quantised. Writes OUT/split.safetensors, for
fmtc.load_split. With --survey every cut is measured at one agreement of the classes with the
uncompressed network's: KiB an image, multiply-adds and time of head and tail, beside the tensor in
8 and 4 bits with zstd, and the input as JPEG, WebP and AVIF. Writes OUT/survey.json after every
cut, and OUT/survey.png; the same command goes on where it was interrupted."""

SPLIT_EXAMPLES = """\
examples:
  fmtc split --model mobilenet_v2 --data val/ --at features.10 --target agreement=0.99
  fmtc split --model mobilenet_v2 --data val/ --survey --target agreement=0.98 --images 200"""

EXAMPLES = """\
examples:
  fmtc demo                                  see it work, nothing to download
  fmtc eval --model resnet18 --data val/     a torchvision network on your own images
  fmtc split --model resnet18 --data val/ --survey   where to cut it, and what crosses
  fmtc report fmtc-results/result.json       one page of HTML, with charts, to look at
  fmtc plot fmtc-results/result.json         draw the figure again
  fmtc info                                  versions and build flags, for bug reports

'fmtc COMMAND --help' explains each command. Exit codes: 0; 2 for an error, which is one line;
130 when interrupted (what was finished is saved); 141 when nobody reads the output any more.
FMTC_DEBUG=1 shows a traceback for every error. Completion in bash, with argcomplete installed:
eval "$(register-python-argcomplete fmtc)"."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code: 0, 2 for an error of use, 130 when interrupted."""

    def command() -> None:
        parser = build_parser()
        _complete(parser)
        args = parser.parse_args(argv)
        args.run(args)

    return main_with_errors("fmtc", command)


def _complete(parser: Parser) -> None:
    """Answer a shell that asks for completions, where argcomplete is installed."""
    if "_ARGCOMPLETE" in os.environ:
        with suppress(ImportError):
            import argcomplete

            argcomplete.autocomplete(parser)


def build_parser() -> Parser:
    """The parser of `fmtc`; `run` of what it parses is the command, to be called with it."""
    parser = Parser(
        prog="fmtc",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"fmtc {__version__}")
    parser.set_defaults(run=lambda args: parser.print_help())
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    _add_demo(commands)
    _add_eval(commands)
    _add_split(commands)
    _add_serve(commands)
    _add_send(commands)
    _add_report(commands)
    _add_plot(commands)
    _add_info(commands)
    return parser


def _add_demo(commands: argparse._SubParsersAction[Parser]) -> None:
    demo = commands.add_parser(
        "demo",
        help="train a small network on digits and compress it",
        description="Train a small residual network on scikit-learn's digits (once, some seconds), "
        "compress it at several rates with real streams, print a table, and write result.json, "
        "rate_distortion.png and report.html. Nothing is downloaded.",
    )
    demo.add_argument(
        "--out", default="fmtc-demo", metavar="DIR", help="where to write (default: %(default)s)"
    )
    demo.add_argument("--quiet", action="store_true", help="no progress, only the table")
    demo.set_defaults(run=_demo)


def _add_eval(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = commands.add_parser(
        "eval",
        help="compress and evaluate a network on your data",
        description=EVAL_DESCRIPTION,
        epilog=EVAL_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_eval_options(parser)
    parser.set_defaults(run=_eval)


def _add_split(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = commands.add_parser(
        "split",
        help="cut a network in two and send what crosses; or survey its cuts",
        description=SPLIT_DESCRIPTION,
        epilog=SPLIT_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    cut = parser.add_argument_group("cut")
    cut.add_argument(
        "--at",
        nargs="+",
        default=[],
        metavar="LAYER",
        help="layers or modules whose outputs cross",
    )
    cut.add_argument("--survey", action="store_true", help="measure every cut of one tensor")
    cut.add_argument(
        "--cuts",
        nargs="+",
        default=[],
        metavar="LAYER",
        help="the cuts to survey (default: those of one tensor that are not much wider than one "
        "before them)",
    )
    add_measuring_options(parser)
    parser.set_defaults(run=_split, out="fmtc-split")


def _add_serve(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = commands.add_parser(
        "serve",
        help="serve the tail of a split network over HTTP",
        description=SERVE_DESCRIPTION,
        epilog=SERVE_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_serve_options(parser)
    parser.set_defaults(run=_serve)


def _add_send(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = commands.add_parser(
        "send",
        help="run the head of a split network on images and have them classified elsewhere",
        description=SEND_DESCRIPTION,
        epilog=SERVE_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_send_options(parser)
    parser.set_defaults(run=_send)


def _add_report(commands: argparse._SubParsersAction[Parser]) -> None:
    report = commands.add_parser(
        "report",
        help="write results as one page of HTML to look at",
        description="Write one self-contained page of HTML (about 1 MB, nothing is loaded from "
        "anywhere) from results of fmtc eval, fmtc demo, fmtc_eval or an experiment: curves "
        "with intervals, where the bits go layer by layer, histograms and eigenvalues of a layer, "
        "energy, what is coded, environment and command.",
        epilog="examples:\n  fmtc report fmtc-results/result.json\n"
        "  fmtc report ours/result.json paper/result.json -o both.html",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    report.add_argument("results", nargs="+", metavar="RESULT.json")
    report.add_argument(
        "-o",
        "--out",
        metavar="FILE",
        help="where to write (default: report.html beside the first result)",
    )
    report.set_defaults(run=_report)


def _add_plot(commands: argparse._SubParsersAction[Parser]) -> None:
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


def _add_info(commands: argparse._SubParsersAction[Parser]) -> None:
    info = commands.add_parser(
        "info",
        help="versions, build flags, SIMD level, CUDA: for bug reports",
        description="Print versions, build flags, SIMD level and CUDA support, for bug reports.",
    )
    info.add_argument("--json", action="store_true", help="as an object of JSON")
    info.set_defaults(run=_info)


# The commands import what they need, so that a wrong option is answered at once.


def _eval(args: argparse.Namespace) -> None:
    from .eval import run_eval

    run_eval(EvalOptions.of(args))


def _split(args: argparse.Namespace) -> None:
    from .split import run_split

    run_split(EvalOptions.of(args), args.at, args.survey, args.cuts)


def _serve(args: argparse.Namespace) -> None:
    from .serve import run_serve

    run_serve(args)


def _send(args: argparse.Namespace) -> None:
    from .serve import run_send

    run_send(args)


def _demo(args: argparse.Namespace) -> None:
    from .demo import run_demo

    run_demo(args.out, quiet=args.quiet)


def _report(args: argparse.Namespace) -> None:
    from .report import run_report

    run_report(args.results, args.out or str(Path(args.results[0]).with_name("report.html")))


def _plot(args: argparse.Namespace) -> None:
    from .plot import run_plot

    run_plot(args.result, args.out, args.layers)


def _info(args: argparse.Namespace) -> None:
    from .info import info, info_text

    print(json.dumps(info()) if args.json else info_text())
