"""How results look on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..extras import require
from .result import PLAIN_BITS, setting_label

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


HEADERS = (
    "setting",
    "entropy",
    "Huffman",
    "stream",
    "saved",
    "top-1 % (95 %)",
    "agree",
    "SNR",
    "arith",
)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Lines of cells, each to the right of its column."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )


def console() -> Console:
    """A console that is wide enough for the table where the output goes to a file or a pipe.

    ImportError: rich is missing.
    """
    make = require("rich.console", "eval").Console
    terminal = make(highlight=False)
    return terminal if terminal.is_terminal else make(highlight=False, width=100)


def result_table(result: dict[str, Any]) -> Table:
    """One row a point: its rates in bits a value, what they save, and what they cost in accuracy.

    ImportError: rich is missing.
    """
    table = require("rich.table", "eval").Table(
        title=_title(result),
        caption=_caption(result),
        title_justify="left",
        caption_justify="left",
        title_style="bold",
        box=require("rich.box", "eval").SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    several = len({point["preset"] for point in result["points"]}) > 1
    for header in ("preset", *HEADERS) if several else HEADERS:
        table.add_column(header, justify="right", no_wrap=True)
    for point in result["points"]:
        rates = point["bits_per_value"]
        table.add_row(
            *([point["preset"] or "-"] if several else []),
            _setting(point),
            _number(rates["entropy"]),
            _number(rates["huffman"]),
            _number(rates["stream"]),
            _percent(saving(point), digits=0),
            _accuracy(point),
            _percent(point["agreement"]),
            _number(point["snr_db"], digits=1),
            _number(multiply_add_ratio(point), digits=2, unit="x"),
        )
    return table


def saving(point: Mapping[str, Any]) -> float | None:
    """Share of the plain 8 bits a value that is saved: by the stream, or the codes without one."""
    rates = point["bits_per_value"]
    rate = rates["huffman"] if rates["stream"] is None else rates["stream"]
    return None if rate is None else 1 - rate / PLAIN_BITS


def multiply_add_ratio(point: Mapping[str, Any]) -> float | None:
    """Multiply-adds of the compressed network against the plain one's; None where not known."""
    counts = point["multiply_adds"]
    return counts["compressed"] / counts["plain"] if counts["plain"] else None


def _title(result: dict[str, Any]) -> str:
    dataset = result["dataset"]
    return (
        f"{result['model']}: {dataset['evaluated_images']:,} images of {dataset['path']}, "
        f"calibrated with {dataset['calibration_images']:,} others"
    )


def _caption(result: dict[str, Any]) -> str:
    reference = result["reference"]["top1"]
    accuracy = "" if reference is None else f"uncompressed top-1: {_percent(reference)}\n"
    return (
        f"{accuracy}rates: bits per value; saved: against {PLAIN_BITS} bit; SNR: dB"
        f"{', of the worst output' if any(map(outputs_told, result['points'])) else ''};\n"
        "arith: multiply-adds against the plain network's"
        + "".join(
            f"\n{_setting(point)}: {outputs_told(point)}"
            for point in result["points"]
            if outputs_told(point)
        )
    )


def outputs_told(point: dict[str, Any]) -> str:
    """The SNR of each output in dB, where there are several; "" otherwise."""
    outputs = point["outputs"]
    if len(outputs) < 2:
        return ""
    return ", ".join(f"{output['name']} {_number(output['snr_db'], 1)} dB" for output in outputs)


def _setting(point: dict[str, Any]) -> str:
    setting = point["setting"]
    return "" if setting is None else setting_label(setting)


def _accuracy(point: dict[str, Any]) -> str:
    """Top-1 and its 95 % interval in percent."""
    if point["top1"] is None:
        return "-"
    low, high = (100 * end for end in point["top1_interval"])
    return f"{100 * point['top1']:.1f} ({low:.1f}-{high:.1f})"


def _percent(fraction: float | None, digits: int = 1) -> str:
    return "-" if fraction is None else f"{100 * fraction:.{digits}f} %"


def _number(value: float | None, digits: int = 3, unit: str = "") -> str:
    return "-" if value is None else f"{value:.{digits}f}{unit}"
