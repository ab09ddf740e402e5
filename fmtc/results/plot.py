"""Figures, drawn from a result document (or a report) alone: curves, layers, experiments' panels.

Colours are Okabe and Ito's, which people with any kind of colour vision can tell apart; the kinds
of rate also differ in line style and marker.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..extras import require
from ..files import write_atomically
from .result import setting_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#332288",
    "#88CCEE", "#999933", "#882255", "#AA4499", "#888888",
)  # fmt: skip
GREY = "#6b6b6b"
# Line and marker of each rate, in the order drawn.
RATE_STYLES: dict[str, dict[str, Any]] = {
    "entropy": {"label": "entropy", "linestyle": "--", "marker": "o"},
    "huffman": {"label": "Huffman", "linestyle": ":", "marker": "s"},
    "stream": {"label": "stream", "linestyle": "-", "marker": "^"},
}
STYLE = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.grid": True,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "axes.titlesize": 11,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 5.5,
}


def rate_distortion(result: Mapping[str, Any], path: str | Path) -> None:
    """Accuracy and output SNR against bits per value, entropy, Huffman and stream.

    The panel of accuracy is left out where there is none. ValueError: no point to draw.
    """
    curves = _curves(result["points"])
    measures = [
        measure
        for measure in ("top1", "snr_db")
        if any(point[measure] is not None for points in curves.values() for point in points)
    ]
    if not measures:
        raise ValueError("the result has no point with an accuracy or an SNR to draw")
    with _style():
        figure = _figure(5.2 * len(measures), 4.3)
        axes = figure.subplots(1, len(measures), squeeze=False)[0]
        for axis, measure in zip(axes, measures, strict=True):
            for color, points in zip(_colors(len(curves)), curves.values(), strict=True):
                _draw_curve(axis, points, measure, color)
            if len(curves) == 1 and measure == "snr_db":  # elsewhere they write over something
                _name_settings(axis, *curves.values())
            _finish(axis, measure, result)
        _legend(figure, curves)
        images = result["dataset"]["evaluated_images"]
        preset = f", preset {next(iter(curves))}" if len(curves) == 1 else ""
        figure.suptitle(f"{result['model']}{preset}, {images:,} images", fontsize=12)
        save_figure(figure, path)


def layers(report: Mapping[str, Any], path: str | Path, title: str = "") -> None:
    """Bits per value of each layer, in execution order.

    report: a point of a result, or a report's dictionary. ValueError: it has no layers.
    """
    rows = [layer for layer in report["layers"] if layer["bits_per_value"]["entropy"] is not None]
    if not rows:
        raise ValueError("there are no layers with a rate to draw")
    places = range(len(rows))
    with _style():
        figure = _figure(7.5, 1.5 + 0.19 * len(rows))
        axis = figure.subplots()
        entropy = [layer["bits_per_value"]["entropy"] for layer in rows]
        axis.barh(places, entropy, height=0.72, color=COLORS[0], label="entropy")
        for rate, color in (("huffman", COLORS[4]), ("stream", "#000000")):
            _mark_layers(axis, rows, rate, color)
        mean = report["bits_per_value"]["entropy"]
        dashed: dict[str, Any] = {"color": GREY, "linewidth": 1, "linestyle": (0, (4, 3))}
        axis.axvline(mean, label=f"mean entropy {mean:.2f}", **dashed)
        axis.set_yticks(places, [layer["name"] for layer in rows], fontsize=7.5)
        axis.set_ylim(len(rows) - 0.4, -0.6)
        axis.set_xlim(left=0)
        axis.grid(axis="y", visible=False)
        axis.set_xlabel("bits per value")
        handles, labels = axis.get_legend_handles_labels()
        bars_first = sorted(range(len(labels)), key=lambda i: labels[i] != "entropy")
        axis.legend(
            [handles[i] for i in bars_first],
            [labels[i] for i in bars_first],
            loc="lower center",
            bbox_to_anchor=(0.5, 1.0),
            ncols=4,
            fontsize=9,
        )
        figure.suptitle(title, fontsize=11)
        save_figure(figure, path)


COLUMNS = 3  # panels in a row
LINES = {"solid": "-", "dashed": (0, (4, 2)), "dotted": ":", "none": "none"}
LEGEND_LETTERS = 13  # an inch
LIGHTER = 0.6  # bars over which markers stand keep this share of their colour


def experiment(result: Mapping[str, Any], path: str | Path) -> None:
    """The panels of an experiment's figure: curves, or groups of bars with markers over them."""
    figure_data = result["figure"]
    panels = figure_data["panels"]
    columns = 2 if len(panels) == 4 else min(len(panels), COLUMNS)
    rows = -(-len(panels) // columns)
    with _style():
        width = 4.7 * columns if columns > 1 else 7.0
        figure = _figure(width, 3.7 * rows + 0.9)
        axes = figure.subplots(rows, columns, squeeze=False).flatten().tolist()
        legends = []
        for axis, panel in zip(axes, panels, strict=False):
            draw = _draw_bars if panel["groups"] else _draw_series
            legends.append(draw(axis, panel))
            axis.set_title(panel["title"])
            axis.set_xlabel(panel["xlabel"])
            axis.set_ylabel(panel["ylabel"])
            _draw_levels(axis, panel["levels"])
        for axis in axes[len(panels) :]:
            axis.remove()
        _draw_legends(figure, axes, legends)
        figure.suptitle(figure_data["title"], fontsize=12)
        save_figure(figure, path)


def _draw_legends(figure: Figure, axes: Sequence[Axes], legends: list[dict[str, Any]]) -> None:
    """One below the panels where it serves them all, otherwise one below each."""
    largest = max(legends, key=len)
    if not largest:
        return
    if all(legend.keys() <= largest.keys() for legend in legends):
        room = LEGEND_LETTERS * figure.get_figwidth() / (max(map(len, largest)) + 6)
        across = min(len(largest), max(1, int(room)))
        figure.legend(largest.values(), largest, loc="outside lower center", ncols=across)
        return
    figure.set_figheight(figure.get_figheight() + 0.7)
    for axis, legend in zip(axes, legends, strict=False):
        if legend:
            axis.legend(
                legend.values(),
                legend,
                fontsize=9,
                ncols=3,
                loc="upper center",
                bbox_to_anchor=(0.5, -0.16),
            )


def _draw_series(axis: Axes, panel: Mapping[str, Any]) -> dict[str, Any]:
    """Curves; markers are filled on solid lines only. Returns the legend's handles by label."""
    handles = {}
    for series in panel["series"]:
        color = COLORS[series["color"] % len(COLORS)]
        known = _known(series)
        if not known[0]:
            continue
        [handle] = axis.plot(
            *known,
            color=color,
            linestyle=LINES[series["line"]],
            marker=series["marker"],
            markerfacecolor=color if series["line"] == "solid" else "white",
        )
        handles[series["label"]] = handle
    if not handles:
        axis.text(0.5, 0.5, "no point", transform=axis.transAxes, ha="center", color=GREY)
    handles.pop("", None)  # what has no name stays out of the legend
    axis.margins(x=0.05)
    axis.set_yscale(panel["yscale"])
    for dimension in (axis.xaxis, axis.yaxis)[: 1 if panel["yscale"] == "log" else 2]:
        dimension.set_major_locator(_round_ticks())
    return handles


def _draw_bars(axis: Axes, panel: Mapping[str, Any]) -> dict[str, Any]:
    """Groups of bars, a place in them for each colour; markers stand over the same colour's bar."""
    to_rgb = require("matplotlib.colors", "eval").to_rgb
    colors = list(dict.fromkeys(series["color"] for series in panel["series"]))
    width = 0.8 / len(colors)
    marked = any(series["marker"] for series in panel["series"])
    handles: dict[str, Any] = {}
    for series in panel["series"]:
        color = COLORS[series["color"] % len(COLORS)]
        shift = (colors.index(series["color"]) - (len(colors) - 1) / 2) * width
        places, heights = _known(series)
        if not places:
            continue
        places = [place + shift for place in places]
        if series["marker"] is None:
            rgb = [1 - LIGHTER * (1 - part) if marked else part for part in to_rgb(color)]
            handles[series["label"]] = axis.bar(places, heights, 0.92 * width, color=rgb)
        else:
            handles[series["label"]] = axis.scatter(
                places, heights, s=36, c="black", marker=series["marker"], zorder=3
            )
    axis.set_xticks(range(len(panel["groups"])), panel["groups"])
    axis.grid(axis="x", visible=False)
    return handles


def _known(series: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    pairs = zip(series["x"], series["y"], strict=True)
    known = [(x, y) for x, y in pairs if x is not None and y is not None]
    return [x for x, _ in known], [y for _, y in known]


def _draw_levels(axis: Axes, levels: list[Mapping[str, Any]]) -> None:
    """Dashed lines across the panel, named at its two ends in turn, as they may be near.

    The lowest is named below its line, all others above.
    """
    for number, level in enumerate(sorted(levels, key=lambda level: level["y"])):
        axis.axhline(level["y"], color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        end, side = ((1, "right"), (0, "left"))[number % 2]
        axis.annotate(
            level["label"],
            (end, level["y"]),
            xycoords=("axes fraction", "data"),
            xytext=(-4 if end else 4, 3 if number else -3),
            textcoords="offset points",
            ha=side,
            va="bottom" if number else "top",
            color=GREY,
            fontsize=8.5,
        )


def _mark_layers(axis: Axes, rows: list[Mapping[str, Any]], rate: str, color: str) -> None:
    places = [i for i, row in enumerate(rows) if row["bits_per_value"][rate] is not None]
    if places:
        style = RATE_STYLES[rate]
        values = [rows[i]["bits_per_value"][rate] for i in places]
        axis.scatter(
            values,
            places,
            s=14,
            marker=style["marker"],
            color=color,
            label=style["label"],
            zorder=3,
        )


def _curves(points: list[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Points of one curve together (same preset, weights, coder), by the curve's name."""
    curves: dict[str, list[Mapping[str, Any]]] = {}
    for point in points:
        if point["setting"] is not None:
            weights = "" if point["weight_bits"] == 32 else f", {point['weight_bits']}-bit weights"
            curves.setdefault(f"{point['preset']}{weights}", []).append(point)
    return curves


def _colors(count: int) -> Iterator[str]:
    return (COLORS[i % len(COLORS)] for i in range(count))


def _draw_curve(axis: Axes, points: list[Mapping[str, Any]], measure: str, color: str) -> None:
    for rate, style in RATE_STYLES.items():
        drawn = sorted(
            (p["bits_per_value"][rate], p[measure] * (100 if measure == "top1" else 1))
            for p in points
            if p["bits_per_value"][rate] is not None and p[measure] is not None
        )
        if drawn:
            filled = color if rate == "stream" else "white"
            axis.plot(*zip(*drawn, strict=True), color=color, markerfacecolor=filled, **style)
    if measure == "top1":
        _draw_intervals(axis, points, color)


def _draw_intervals(axis: Axes, points: list[Mapping[str, Any]], color: str) -> None:
    """95 % intervals of the accuracy, as a light band around the curve of the entropy."""
    known = sorted(
        (point["bits_per_value"]["entropy"], *point["top1_interval"])
        for point in points
        if point["bits_per_value"]["entropy"] is not None and point["top1_interval"] is not None
    )
    if known:
        rates, low, high = zip(*known, strict=True)
        percent = [[100 * end for end in ends] for ends in (low, high)]
        axis.fill_between(rates, percent[0], percent[1], color=color, alpha=0.1, linewidth=0)


def _name_settings(axis: Axes, points: list[Mapping[str, Any]]) -> None:
    """Write each point's setting to the lower right of its rates, where a rising curve is not."""
    for point in points:
        known = [point["bits_per_value"][rate] for rate in RATE_STYLES]
        rates = [rate for rate in known if rate is not None]
        if rates and point["snr_db"] is not None:
            axis.annotate(
                setting_label(point["setting"]),
                (max(rates), point["snr_db"]),
                xytext=(6, -3),
                textcoords="offset points",
                ha="left",
                va="top",
                fontsize=8,
                color=GREY,
            )


def _finish(axis: Axes, measure: str, result: Mapping[str, Any]) -> None:
    axis.set_xlabel("bits per value")
    axis.margins(x=0.1)
    axis.yaxis.set_major_locator(_round_ticks())
    if measure == "snr_db":
        axis.set_ylabel("SNR of the outputs (dB)")
        return
    axis.set_ylabel("top-1 accuracy (%)")
    reference = result["reference"]["top1"]
    if reference is not None:
        label = f"uncompressed {100 * reference:.1f} %"
        _draw_levels(axis, [{"label": label, "y": 100 * reference}])
        axis.margins(y=0.1)


def _legend(figure: Figure, curves: Mapping[str, list[Mapping[str, Any]]]) -> None:
    """Styles of the rates that were drawn and, where there are several curves, their colours."""
    line = require("matplotlib.lines", "eval").Line2D
    points = [point for curve in curves.values() for point in curve]
    handles = []
    if len(curves) > 1:
        handles += [
            line([], [], color=color, linewidth=3, label=name)
            for color, name in zip(_colors(len(curves)), curves, strict=True)
        ]
    color = GREY if len(curves) > 1 else COLORS[0]
    for rate, style in RATE_STYLES.items():
        if any(point["bits_per_value"][rate] is not None for point in points):
            filled = color if rate == "stream" else "white"
            handles.append(line([], [], color=color, markerfacecolor=filled, **style))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 6))


def _style() -> Any:
    return require("matplotlib", "eval").rc_context(STYLE)


def _figure(width: float, height: float) -> Figure:
    """Inches."""
    make = require("matplotlib.figure", "eval").Figure
    return make(figsize=(width, height), layout="constrained", dpi=150)


def _round_ticks() -> Any:
    return require("matplotlib.ticker", "eval").MaxNLocator(nbins=7, steps=[1, 2, 5, 10])


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure as the suffix says (PNG, SVG, ...), as a whole or not at all.

    ValueError: a suffix that matplotlib does not know; OSError.
    """
    path = Path(path)
    drawn = io.BytesIO()
    figure.savefig(drawn, format=path.suffix.removeprefix(".") or "png")
    write_atomically(path, drawn.getvalue())
