"""`fmtc report`: results as one page of HTML, with charts, that needs nothing beside it.

Made of result documents alone. The charts are Vega-Lite's, with its library in the page, so that
nothing is loaded from anywhere; `page.html` is the template and says how the page behaves.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib import resources
from typing import Any

from ..extras import require
from .console import multiply_add_ratio, saving
from .dram import dram_image_joules
from .energy import image_joules
from .plot import COLORS
from .result import PLAIN_BITS, is_experiment, setting_label

# Measures of the curves: key of a point, title, factor to the unit, key of the interval.
MEASURES = (
    ("top1", "top-1 accuracy (%)", 100, "top1_interval"),
    ("agreement", "agreement with the plain network (%)", 100, None),
    ("snr_db", "SNR of the worst output (dB)", 1, None),
    ("kl", "KL to the plain network (nats)", 1, "kl_interval"),
)
CURVE_RATES = {"stream": "stream", "huffman": "Huffman codes", "entropy": "entropy"}
PAGE_PACKAGES = ("altair", "vl_convert", "jinja2")  # what a page is made with
INK = "currentColor"  # of what is written: the page's, dark or light


def html_page(results: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """The page of (file, result document) pairs. ImportError: a package of the extra is missing."""
    evaluations = [_Evaluation(file, result) for file, result in _evaluations(results)]
    points = [row for evaluation in evaluations for row in evaluation.rows()]
    for number, row in enumerate(points):
        row["id"] = number
    environment = require("jinja2", "eval").Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    source = resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    template = environment.from_string(source)
    detailed = [row for row in points if row["layers"]]
    return template.render(
        evaluations=evaluations,
        points=points,
        detailed=detailed,
        charts=_json(_charts(points, detailed)),
        library=_library(),
        plain_bits=PLAIN_BITS,
    )


def _evaluations(
    results: Sequence[tuple[str, Mapping[str, Any]]],
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """All evaluations: of an experiment those that it was made of."""
    for file, result in results:
        if not is_experiment(result):
            yield file, result
            continue
        shared = {key: result[key] for key in ("command", "environment")}
        for part in result["results"]:
            yield file, {**shared, **part}


class _Evaluation:
    """What the page says of one result: who measured what on which images."""

    def __init__(self, file: str, result: Mapping[str, Any]):
        self.file, self.result = file, result
        self.model, self.dataset = result["model"], result["dataset"]
        self.command, self.environment = result["command"], result["environment"]
        self.top1 = result["reference"]["top1"]
        self.subject = f"{self.model}, {self.dataset['path']}"

    def rows(self) -> list[dict[str, Any]]:
        """Its points with a setting, as the page shows them."""
        return [self._row(p) for p in self.result["points"] if p["setting"] is not None]

    def _row(self, point: Mapping[str, Any]) -> dict[str, Any]:
        weights = "" if point["weight_bits"] == 32 else f", {point['weight_bits']}-bit weights"
        curve, setting = f"{point['preset']}{weights}", setting_label(point["setting"])
        return {
            "point": point,
            "subject": self.subject,
            "curve": curve,
            "setting": setting,
            "title": f"{self.model}: {curve}, {setting}",
            "rates": point["bits_per_value"],
            "saved": saving(point),
            "arithmetic": multiply_add_ratio(point),
            "layers": [_layer(layer) for layer in _rated(point["layers"])],
            "energy": _energy(point["layers"]),
            "coverage": _coverage(point["written"]),
        }


def _rated(layers: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [layer for layer in layers if layer["bits_per_value"]["entropy"] is not None]


def _layer(layer: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the table: of one image's feature map."""
    rates = layer["bits_per_value"]
    rate = next(r for r in (rates["stream"], rates["huffman"], rates["entropy"]) if r is not None)
    values = math.prod(layer["shape"])
    return {
        **layer,
        "shape": "×".join(map(str, layer["shape"])),
        "kept": "8 bits" if layer["components"] is None else layer["components"],
        "channels": layer["shape"][0] if layer["shape"] else None,
        "values_image": values,
        "rate": rate,
        "kbits": rate * values / 1000,
    }


def _energy(layers: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """mJ an image by model of the memory, of this point and of plain bits; none if not known."""
    rows = []
    memories: tuple[tuple[str, Callable[..., float | None]], ...] = (
        ("as the paper reckons", image_joules),
        ("DRAM, standby", partial(dram_image_joules, power_down=False)),
        ("DRAM, power-down", partial(dram_image_joules, power_down=True)),
    )
    for model, joules in memories:
        plain = joules(layers, PLAIN_BITS) if layers else None
        coded = next(
            (j for rate in ("stream", "huffman") if (j := joules(layers, rate)) is not None), None
        )
        if plain is not None and coded is not None:
            rows.append({"model": model, "plain": 1e3 * plain, "coded": 1e3 * coded})
    return rows


def _coverage(written: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Values an image by what writes them and whether they are coded."""
    if written is None:
        return []
    rows = []
    for kind, counts in written["kinds"].items():
        left_out = counts["values"] - counts["coded"]
        rows.append({"kind": kind, "how": "coded", "values": counts["coded"]})
        rows.append({"kind": kind, "how": "left out", "values": left_out})
    return rows


def _charts(points: list[dict[str, Any]], detailed: list[dict[str, Any]]) -> dict[str, Any]:
    """The Vega-Lite specification of each chart, by the id of the element that it is drawn in."""
    alt = require("altair", "eval")
    alt.data_transformers.disable_max_rows()
    charts = {}
    for number, subject in enumerate(dict.fromkeys(row["subject"] for row in points)):
        own = [row for row in points if row["subject"] == subject]
        for measure in MEASURES:
            if any(row["point"][measure[0]] is not None for row in own):
                charts[f"curve-{number}-{measure[0]}"] = _curve(alt, own, measure)
    if detailed:
        first = detailed[-1]  # of several presets fmtc's, if it comes last as in the demonstration
        chosen = alt.param(name="chosen", value=first["id"])
        layer = alt.param(name="layer", value=first["layers"][0]["name"])
        charts["layers"] = _layers(alt, detailed, chosen)
        charts["coverage"] = _coverage_chart(alt, detailed, chosen)
        charts["energy"] = _energy_chart(alt, detailed, chosen)
        charts["histogram"] = _histogram(alt, detailed, chosen, layer)
        charts["spectrum"] = _spectrum(alt, detailed, chosen, layer)
    return {name: _styled(chart).to_dict() for name, chart in charts.items() if chart is not None}


def _styled(chart: Any) -> Any:
    """With the page's ink and no ground of its own."""
    return (
        chart.configure(background="transparent")
        .configure_view(stroke=None)
        .configure_axis(
            labelColor=INK, titleColor=INK, domainColor=INK, tickColor=INK, gridOpacity=0.25,
            labelLimit=260,
        )
        .configure_legend(
            labelColor=INK, titleColor=INK, orient="bottom", columns=4,
            symbolOpacity=1)
        .configure_title(color=INK, anchor="start")
    )  # fmt: skip


def _colour(alt: Any, names: Sequence[str], title: str | None = None) -> Any:
    """Colours that people with any kind of colour vision can tell apart, by the order of names."""
    ink = [INK if color == "#000000" else color for color in COLORS]
    colors = [ink[i % len(ink)] for i in range(len(names))]
    return alt.Scale(domain=list(names), range=colors)


def _curve(alt: Any, rows: list[dict[str, Any]], measure: tuple[str, str, int, str | None]) -> Any:
    """One measure against bits a value: streams solid, entropy dashed, Huffman codes dotted."""
    key, title, factor, interval = measure
    drawn = []
    for row in rows:
        point = row["point"]
        known = [rate for rate in CURVE_RATES if row["rates"][rate] is not None]
        for rate in known if point[key] is not None else []:
            low, high = (None, None)
            if rate == known[0] and interval is not None:
                low, high = point.get(interval) or (None, None)
            drawn.append(
                {
                    "curve": row["curve"],
                    "setting": row["setting"],
                    "rate": CURVE_RATES[rate],
                    "bits": row["rates"][rate],
                    "y": factor * point[key],
                    "low": None if low is None else factor * low,
                    "high": None if high is None else factor * high,
                }
            )
    logarithmic = key == "kl" and all(row["y"] > 0 for row in drawn)
    scale = alt.Scale(type="log") if logarithmic else alt.Scale(zero=False)
    curves = list(dict.fromkeys(row["curve"] for row in drawn))
    base = alt.Chart(alt.Data(values=drawn)).encode(
        x=alt.X("bits:Q", title="bits a value", scale=alt.Scale(zero=False)),
        color=alt.Color("curve:N", scale=_colour(alt, curves), title=None),
    )
    dashes = alt.Scale(domain=list(CURVE_RATES.values()), range=[[1, 0], [2, 3], [7, 4]])
    tips = [
        alt.Tooltip("curve:N", title="preset"),
        alt.Tooltip("setting:N"),
        alt.Tooltip("rate:N", title="counted as"),
        alt.Tooltip("bits:Q", title="bits a value", format=".4~g"),
        alt.Tooltip("y:Q", title=title, format=".4~g"),
    ]
    if interval is not None:
        tips += [
            alt.Tooltip("low:Q", title="95 % from", format=".4~g"),
            alt.Tooltip("high:Q", title="to", format=".4~g"),
        ]
    y = alt.Y("y:Q", title=title, scale=scale)
    lines = base.mark_line().encode(
        y=y, strokeDash=alt.StrokeDash("rate:N", scale=dashes, title=None)
    )
    dots = base.mark_point(filled=True, size=55, opacity=1).encode(y=y, tooltip=tips)
    parts = [lines, dots]
    if any(row["low"] for row in drawn):
        bars = base.transform_filter("datum.low > 0").mark_rule(opacity=0.35)
        parts.insert(0, bars.encode(y=alt.Y("low:Q", title=title, scale=scale), y2="high:Q"))
    return alt.layer(*parts).properties(width=430, height=300)


def _values(alt: Any, rows: list[dict[str, Any]]) -> Any:
    return alt.Chart(alt.Data(values=rows))


def _of_point(alt: Any, rows: list[dict[str, Any]], chosen: Any) -> Any:
    return _values(alt, rows).add_params(chosen).transform_filter("datum.id == chosen")


def _layers(alt: Any, detailed: list[dict[str, Any]], chosen: Any) -> Any:
    """Kilobits an image of each layer, in execution order."""
    keys = ("name", "shape", "kept", "kbits", "rate")
    rows = [
        {"id": row["id"], "order": order, **{key: layer[key] for key in keys}}
        for row in detailed
        for order, layer in enumerate(row["layers"])
    ]
    most = max(len(row["layers"]) for row in detailed)
    return (
        _of_point(alt, rows, chosen)
        .mark_bar(color=COLORS[0])
        .encode(
            y=alt.Y("name:N", sort=alt.SortField("order"), title=None),
            x=alt.X("kbits:Q", title="kilobits an image"),
            tooltip=[
                alt.Tooltip("name:N", title="layer"),
                alt.Tooltip("shape:N", title="channels×height×width"),
                alt.Tooltip("kept:N", title="components kept"),
                alt.Tooltip("rate:Q", title="bits a value", format=".3f"),
                alt.Tooltip("kbits:Q", title="kilobits an image", format=",.1f"),
            ],
        )
        .properties(width=360, height=max(60, 15 * most))
    )


def _coverage_chart(alt: Any, detailed: list[dict[str, Any]], chosen: Any) -> Any:
    rows = [{"id": row["id"], **part} for row in detailed for part in row["coverage"]]
    if not rows:
        return None
    how = _colour(alt, ["coded", "left out"])
    return (
        _of_point(alt, rows, chosen)
        .mark_bar()
        .encode(
            y=alt.Y("kind:N", sort="-x", title=None),
            x=alt.X("values:Q", title="values written for an image", axis=alt.Axis(format="~s")),
            color=alt.Color("how:N", scale=how, title=None),
            tooltip=["kind:N", "how:N", alt.Tooltip("values:Q", format=",")],
        )
        .properties(width=430)
    )


def _energy_chart(alt: Any, detailed: list[dict[str, Any]], chosen: Any) -> Any:
    rows = [
        {"id": row["id"], "model": part["model"], "what": what, "millijoules": part[key]}
        for row in detailed
        for part in row["energy"]
        for key, what in (("plain", f"{PLAIN_BITS} bits a value"), ("coded", "this point"))
    ]
    if not rows:
        return None
    colour = _colour(alt, ["this point", f"{PLAIN_BITS} bits a value"])
    return (
        _of_point(alt, rows, chosen)
        .mark_bar()
        .encode(
            y=alt.Y("model:N", sort=None, title=None),
            yOffset=alt.YOffset("what:N", sort=["this point"]),
            x=alt.X("millijoules:Q", title="mJ for an image's memory accesses"),
            color=alt.Color("what:N", scale=colour, title=None),
            tooltip=["model:N", "what:N", alt.Tooltip("millijoules:Q", format=".4~g")],
        )
        .properties(width=430, height=160)
    )


def _of_layer(alt: Any, rows: list[dict[str, Any]], chosen: Any, layer: Any) -> Any:
    one = _of_point(alt, rows, chosen).add_params(layer)
    return one.transform_filter("datum.name == layer")


def _histogram(alt: Any, detailed: list[dict[str, Any]], chosen: Any, layer: Any) -> Any:
    """Of the chosen layer's coded symbols."""
    rows = [
        {"id": row["id"], "name": part["name"], **part["histogram"]}
        for row in detailed
        for part in row["layers"]
        if part.get("histogram") and part["histogram"]["counts"]
    ]
    if not rows:
        return None
    return (
        _of_layer(alt, rows, chosen, layer)
        .transform_flatten(["counts"])
        .transform_window(row="row_number()")
        .transform_joinaggregate(all="sum(counts)")
        .transform_calculate(
            symbol="datum.first + datum.width * (datum.row - 1)",
            left="datum.symbol - 0.5",
            right="datum.symbol + datum.width - 0.5",
            share="datum.counts / datum.all",
        )
        .mark_bar(color=COLORS[0])
        .encode(
            x=alt.X("left:Q", title="coded symbol", bin="binned"),
            x2="right:Q",
            y=alt.Y("share:Q", title="share of the symbols", axis=alt.Axis(format="~%")),
            tooltip=["symbol:Q", alt.Tooltip("share:Q", format=".2%")],
        )
        .properties(width=430, height=220)
    )


def _spectrum(alt: Any, detailed: list[dict[str, Any]], chosen: Any, layer: Any) -> Any:
    """How many of the chosen layer's eigenvalues hold a share of the energy; all others faint."""
    rows = [
        {"id": row["id"], "name": part["name"], **part["spectrum"]}
        for row in detailed
        for part in row["layers"]
        if part.get("spectrum")
    ]
    if not rows:
        return None
    axes = {
        "x": alt.X("energy:Q", title="share of the energy", axis=alt.Axis(format="~%"),
                   scale=alt.Scale(zero=False)),
        "y": alt.Y("eigenvalues:Q", title="eigenvalues needed", axis=alt.Axis(format="~%")),
    }  # fmt: skip
    spectra = _of_point(alt, rows, chosen).transform_flatten(["energy", "eigenvalues"])
    others = spectra.mark_line(color=INK, opacity=0.12, strokeWidth=1).encode(
        **axes, detail="name:N"
    )
    one = (
        spectra.transform_filter("datum.name == layer")
        .mark_line(color=COLORS[1], point=alt.OverlayMarkDef(color=COLORS[1]), strokeWidth=2.5)
        .encode(
            **axes,
            tooltip=[
                alt.Tooltip("energy:Q", format=".1%"),
                alt.Tooltip("eigenvalues:Q", format=".1%"),
            ],
        )
    )
    return alt.layer(others, one).add_params(layer).properties(width=430, height=220)


def _library() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script, in the version that altair writes for."""
    alt, convert = require("altair", "eval"), require("vl_convert", "eval")
    version = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    script = convert.javascript_bundle(vl_version=version)
    # What an HTML parser would take for the end of the script, written otherwise.
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _json(data: Any) -> str:
    """JSON that no HTML parser takes for markup."""
    return json.dumps(data, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
