"""`fmtc plot`: a figure of what is in a result file."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..results.plot import experiment, layers, rate_distortion
from ..results.result import is_experiment, load_result, setting_label
from ..targets import target_of


def run_plot(file: str, out: str | None, setting: str | None) -> None:
    """Draw the curve of a result file or, with a setting (8, b=8), the layers of that point.

    An experiment's figure is drawn as PNG and SVG beside its file. out: PNG or SVG, instead of a
    name beside the file. ResultError, OSError; UsageError: the file has no such point or layers.
    """
    result = load_result(file)
    if is_experiment(result):
        if setting is not None:
            raise UsageError(f"{file} is an experiment; it has no layers to draw")
        figures = [Path(out)] if out else [Path(file).with_suffix(s) for s in (".png", ".svg")]
        for figure in figures:
            experiment(result, figure)
            print(f"wrote {figure}")
        return
    if setting is None:
        figure = Path(out or Path(file).with_name("rate_distortion.png"))
        rate_distortion(result, figure)
    else:
        figure = Path(out or Path(file).with_name("layers.png"))
        point = _point_with(result, setting, file)
        title = f"{result['model']}, preset {point['preset']}, {setting_label(point['setting'])}"
        layers(point, figure, title)
    print(f"wrote {figure}")


def _point_with(result: dict[str, Any], setting: str, file: str) -> dict[str, Any]:
    """The point with this setting: "8" or "b=8"."""
    wanted = setting.replace(" ", "")
    points = [point for point in result["points"] if point["setting"] is not None]
    known = [str(target_of(point["setting"])) for point in points]
    names = known
    if "=" not in wanted:
        names = [name.partition("=")[2] for name in known]
        with suppress(ValueError):
            wanted = f"{float(wanted):.12g}"
    if names.count(wanted) == 1:
        return points[names.index(wanted)]
    many = "several points" if wanted in names else "no point"
    raise UsageError(
        f"{file} has {many} with setting {setting}; it has {', '.join(known) or 'none'}"
    )
