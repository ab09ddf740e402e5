"""The options of `fmtc serve` and `fmtc send`."""

from __future__ import annotations

import argparse
import os

from .command import Parser, whole_number

MOST_WORKERS = 8  # in one Python

SERVE_DESCRIPTION = """\
Serve the tail of a split network over HTTP: POST /infer takes what a head made and answers with the
network's outputs, as JSON or .npy; GET /health says what is served, GET /metrics is for Prometheus.
Bytes that are damaged, cut or of another network are refused in a sentence. There is no encryption
and no login: let a proxy see to these where others can reach the port."""

SEND_DESCRIPTION = """\
Run the head of a split network on images and let a service (fmtc serve, or fmtc_infer --listen) run
the tail. Prints the best classes of each image, and what was sent."""

SERVE_EXAMPLES = """\
examples:
  fmtc split --model resnet50 --data val/ --at layer3 --out split
  fmtc serve split/split.safetensors --model resnet50 --host 0.0.0.0 --port 8000
  fmtc send split/split.safetensors --model resnet50 --url http://server:8000 photos/"""


def add_serve_options(parser: Parser) -> None:
    _add_parts(parser)
    parser.add_argument("--host", default="127.0.0.1", help="address (default: %(default)s)")
    parser.add_argument(
        "--port", type=whole_number(0, 65535), default=8000,
        help="0 for a free one, which is told (default: %(default)s)",
    )  # fmt: skip
    _add_number(parser, "--max-body", 2**24, "bytes of a request")
    _add_number(parser, "--max-images", 64, "images of a request")
    _add_number(
        parser, "--workers", workers(), "requests that are computed side by side, as many as cores"
    )
    _add_number(parser, "--waiting", 32, "requests that may wait; others are told to come again")
    _add_number(parser, "--seconds", 30, "in which a body must arrive")
    # Threads of torch that wait for each other lose their cores to what answers HTTP: on two cores
    # two threads serve 0.4 times what two workers do (docs/measurements.md, "Served").
    _add_number(parser, "--threads", 1, "threads of torch, for each worker")
    parser.add_argument(
        "--sizes", nargs="+", type=_size, default=[], metavar="HxW",
        help="sizes of images that are taken besides those of calibration",
    )  # fmt: skip


def workers() -> int:
    """As many as there are cores for this process; more than MOST_WORKERS wait for each other."""
    affinity = getattr(os, "sched_getaffinity", None)  # not everywhere
    return min(len(affinity(0)) if affinity else os.cpu_count() or 1, MOST_WORKERS)


def add_send_options(parser: Parser) -> None:
    _add_parts(parser)
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="files, and folders of them")
    parser.add_argument("--url", required=True, help="of the service, as http://server:8000")
    parser.add_argument(
        "--preprocess", metavar="STEPS", help="from image to input (see fmtc eval --help)"
    )
    _add_number(parser, "--batch", 1, "images of a request")
    _add_number(parser, "--topk", 5, "classes to print")
    _add_number(parser, "--seconds", 60, "for an answer")
    _add_number(parser, "--threads", None, "threads of torch")
    parser.add_argument("--labels", metavar="FILE", help="names of the classes, one a line")
    parser.add_argument("--json", metavar="FILE", help="write classes, bytes and times")
    parser.add_argument("--csv", metavar="FILE", help="write a row of each image and class")
    parser.add_argument("--npz", metavar="FILE", help="write all outputs [images, ...] by name")


def _add_parts(parser: Parser) -> None:
    parser.add_argument("parts", metavar="PARTS", help="what fmtc split or parts.save wrote")
    parser.add_argument(
        "--model", required=True, metavar="NAME",
        help="the network that was split: of torchvision, or path/to/file.py:function",
    )  # fmt: skip
    parser.add_argument("--weights", metavar="FILE|DEFAULT|none", help="as for fmtc eval")
    _add_number(parser, "--num-classes", None, "classes of a torchvision model, if not 1000")
    _add_number(parser, "--seed", 0, "of random weights", least=0)


def _add_number(parser: Parser, name: str, default: int | None, about: str, least: int = 1) -> None:
    told = "" if default is None else " (default: %(default)s)"
    parser.add_argument(
        name, type=whole_number(least), default=default, metavar="N", help=about + told
    )


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise argparse.ArgumentTypeError(f"height and width in pixels, as 320x480, not {text!r}")
    return int(height), int(width)
