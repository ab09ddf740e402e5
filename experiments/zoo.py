"""Compress many networks with random weights, each in a process of its own: how did it go?

    python -m experiments.zoo [--list NAME ...] [--full] [--out results/zoo]

torchvision's networks; where timm, segmentation_models_pytorch or ultralytics are installed,
theirs, too. For each: whether it was captured whole, or why not; the share of the values that it
writes which has coding points; the folding error, of transforms without quantiser; whether streams
give what `simulate` gives, and the same after saving and loading; the SNR of its outputs for a
target of 15 dB; seconds of CPU and peak memory. OUT/zoo.json has what is finished, so that a run
that was interrupted goes on where it stopped; OUT/networks.md is its table. The exit code is 2
where a network failed.
"""

from __future__ import annotations

import argparse
import json
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from concurrent.futures import ThreadPoolExecutor, as_completed
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch

import fmtc
from fmtc.cli.command import Parser, main_with_errors, out_folder, say, whole_number
from fmtc.errors import UsageError
from fmtc.files import write_atomically
from fmtc.network.outputs import named_outputs, relative_difference

from .zoo_networks import images, make, networks

SECONDS = 180  # of CPU that a network may take
CALIBRATION, TESTED = 4, 2  # images
TARGET = fmtc.SNR(15)
EXACT = fmtc.BitsPreset(name="exact", transform_bits=None, drop_components=False)
Row = dict[str, Any]
PAGE = """\
# Networks that were tried

`{command}`: {networks} networks with random weights, target {target}. {whole} were captured whole,
and the median of the shares of what they write that is coded is {median}.

The columns: **coded**, the share of the values written that has coding points
([method](method.md#what-is-written)), and what is **left out**; coding **points**; **fold**, the
relative error of the outputs when transforms alone are done; **bits** a value of the streams;
**MACs**, multiply-adds relative to the plain network; **SNR** in dB on other images than those of
calibration, of the output that has the smallest and that which has the largest; seconds of **CPU**
for all of this, and peak memory in **GB**. Four images to calibrate with are few: rates are no
claim of what the method does.

| network | graph | coded | left out | points | fold | bits | MACs | SNR | CPU | GB |
|---|---|--:|---|--:|--:|--:|--:|--:|--:|--:|"""


def measure(name: str, full: bool = False) -> Row:
    """Compress a network and say what became of it.

    full: with 24 images of its own size for calibration and 8 for its test, else 4 and 2 of 128
    pixels, if it takes these.
    """
    start = time.process_time()
    model, shape = make(name, own_size=full)
    count, tested = (24, 8) if full else (CALIBRATION, TESTED)
    calibration, test = images(count, shape, seed=2), images(tested, shape, seed=3)
    row: Row = {"name": name, "input": list(shape)}
    row |= {"folding_error": _folding_error(model, calibration[:2], test)}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        compressed = fmtc.compress(model, calibration, target=TARGET)
    told = [str(w.message) for w in caught if issubclass(w.category, UserWarning)]
    row["parts"] = next((text for text in told if "torch.export cannot" in text), None)
    row["warnings"] = [text for text in told if text != row["parts"]]
    row |= _streams(compressed, model, test)
    point = fmtc.evaluate(compressed, test)
    row["outputs"] = [{key: o[key] for key in ("name", "snr_db")} for o in point["outputs"]]
    row["written"] = point["written"]
    row["bits_per_value"] = point["bits_per_value"]["stream"]
    row["points"] = len(compressed.points)
    row["multiply_adds"] = compressed.multiply_adds
    row["seconds"] = time.process_time() - start
    row["peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return row


def _folding_error(model: torch.nn.Module, calibration: torch.Tensor, test: torch.Tensor) -> float:
    """Relative difference of the outputs when all transforms are whole and nothing is quantised."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exact = fmtc.compress(model, calibration, EXACT, mode="float")
    with torch.no_grad():
        return relative_difference(named_outputs(exact(test)), named_outputs(model(test)))


def _streams(compressed: fmtc.CompressedModel, model: torch.nn.Module, test: torch.Tensor) -> Row:
    """Whether modes agree, and what is loaded does the same as what was saved."""
    streamed = named_outputs(compressed(test))
    compressed.mode = "simulate"
    simulated = named_outputs(compressed(test))
    compressed.mode = "stream"
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "codec.safetensors"
        compressed.save(path)
        loaded = named_outputs(fmtc.load(path, model)(test))
    return {"stream": _same(streamed, simulated), "load": _same(streamed, loaded)}


def _same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def share(row: Row) -> float:
    """Of all values that the network writes, those that are coded."""
    return row["written"]["coded"] / row["written"]["values"]


def passed(row: Row) -> bool:
    """Whether all is as it should be."""
    return "error" not in row and row["stream"] and row["load"] and row["folding_error"] < 1e-3


def in_a_process(name: str, full: bool) -> Row:
    """`measure` in a process of its own; what went wrong is its "error"."""
    command = [sys.executable, "-m", "experiments.zoo", "--one", name, *(["--full"] * full)]
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode == -signal.SIGXCPU:
        return {"name": name, "error": f"takes more than {SECONDS} s of CPU"}
    if ran.returncode:
        said = [line for line in ran.stderr.splitlines() if line.strip()]
        return {"name": name, "error": said[-1][:300] if said else f"exit code {ran.returncode}"}
    return json.loads(ran.stdout.splitlines()[-1])


def table(rows: list[Row], command: str) -> str:
    """The results as a page in Markdown."""
    good = [row for row in rows if "error" not in row]
    lines = [
        PAGE.format(
            command=command,
            networks=len(rows),
            target=f"{TARGET.value:g} dB",
            whole=sum(row["parts"] is None for row in good),
            median=f"{statistics.median(map(share, good)):.3f}" if good else "-",
        )
    ]
    for row in rows:
        cells = _cells(row) if "error" not in row else ["**failed**", "", row["error"], *[""] * 7]
        lines.append("| " + " | ".join([row["name"], *cells]) + " |")
    return "\n".join(lines) + "\n"


def _cells(row: Row) -> list[str]:
    adds, snrs = row["multiply_adds"], [o["snr_db"] for o in row["outputs"]]
    right = "" if row["stream"] and row["load"] else ", **streams differ**"
    return [
        ("whole" if row["parts"] is None else "parts") + right,
        f"{share(row):.3f}",
        _left_out(row["written"]),
        str(row["points"]),
        f"{row['folding_error']:.0e}",
        f"{row['bits_per_value']:.2f}",
        f"{adds['compressed'] / adds['plain']:.2f}",
        " to ".join(f"{snr:.1f}" for snr in sorted({min(snrs), max(snrs)})) if snrs else "",
        f"{row['seconds']:.0f}",
        f"{row['peak_bytes'] / 1e9:.1f}",
    ]


def _left_out(written: Row) -> str:
    left = {kind: k["values"] - k["coded"] for kind, k in written["kinds"].items()}
    shares = {kind: count / written["values"] for kind, count in left.items()}
    some = sorted(((s, kind) for kind, s in shares.items() if s >= 0.005), reverse=True)
    return ", ".join(f"{kind} {s:.2f}" for s, kind in some)


def chosen(patterns: list[str] | None) -> list[str]:
    """The networks that match one of the patterns, as "timm/*" or "resnet18"."""
    known = networks()
    found = []
    for pattern in patterns or ["*"]:
        matching = [n for n in known if fnmatch(n, pattern) or fnmatch(n.split("/")[1], pattern)]
        if not matching:
            raise UsageError(f"no network is called {pattern!r}; --names lists those there are")
        found += [name for name in matching if name not in found]
    return found


def run(options: argparse.Namespace) -> None:
    """Measure what is missing; the file and the table are written after each network."""
    names, path = chosen(options.list), Path(options.out) / "zoo.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    settings = {"full": options.full, "version": fmtc.__version__}
    done: dict[str, Row] = known["rows"] if known.get("settings") == settings else {}
    command = "python -m experiments.zoo" + " --full" * options.full
    missing = [name for name in names if options.again or name not in done]
    with ThreadPoolExecutor(options.jobs) as pool:
        running = [pool.submit(in_a_process, name, options.full) for name in missing]
        for finished in as_completed(running):
            row = finished.result()
            done[row["name"]] = row
            cells = row["error"] if "error" in row else "  ".join(_cells(row))
            say(f"[{len(done)}] {row['name']}: {cells}")
            document = {"settings": settings, "rows": done}
            write_atomically(path, json.dumps(document, indent=1).encode())
            rows = [done[n] for n in networks() if n in done]
            write_atomically(path.with_name("networks.md"), table(rows, command).encode())
    bad = [name for name in names if not passed(done[name])]
    print(f"{len(names) - len(bad)} of {len(names)} networks are as they should be")
    if bad:
        raise RuntimeError(f"failed: {', '.join(bad)}")


def main(arguments: list[str] | None = None) -> int:
    parser = Parser(
        "python -m experiments.zoo",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--list", nargs="+", metavar="NAME", help="these alone: names or patterns, as 'timm/*'"
    )
    parser.add_argument("--names", action="store_true", help="say which networks there are")
    parser.add_argument(
        "--full",
        action="store_true",
        help="24 and 8 images of the size that networks are meant for, not 4 and 2 of 128 pixels",
    )
    parser.add_argument("--again", action="store_true", help="measure also what is in OUT already")
    parser.add_argument(
        "--jobs", type=whole_number(1), default=1, metavar="N", help="networks at a time (1)"
    )
    parser.add_argument("--out", default="results/zoo", metavar="DIR", help="default: %(default)s")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # what each process does
    return main_with_errors("zoo", lambda: _command(parser.parse_args(arguments)))


def _command(options: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    if options.names:
        print("\n".join(networks()))
    elif options.one:
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 5))
        print(json.dumps(measure(options.one, options.full)))
    else:
        with out_folder(options.out):
            run(options)


if __name__ == "__main__":
    sys.exit(main())
