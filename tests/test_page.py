"""The page of `fmtc report`: what it holds, that it needs nothing else, and how it behaves.

The browser is Debian's Chromium; without it what needs one is skipped.
"""

from __future__ import annotations

import copy
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from test_result import make_point, make_result

import fmtc
from fmtc.cli.main import main
from fmtc.results.page import html_page
from fmtc.results.result import validate, write_result
from fmtc.results.spectrum import MOST_BINS, drawn_histogram, eigenvalues_needed

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
HOSTILE = "</script><b id=broken>&\"'"


def result_with(*settings: int, name: str = "net") -> dict[str, Any]:
    """A result of these points b, whose layers have a histogram and a spectrum to draw."""
    result = make_result(*(make_point(b) for b in settings))
    result["model"] = name
    for b, point in zip(settings, result["points"], strict=True):
        point["kl_interval"] = [0.008, 0.013]
        for i, layer in enumerate(point["layers"]):
            layer["histogram"] = {"first": -2, "width": 1, "counts": [1, 3, b, 3 + i, 1]}
            layer["spectrum"] = {"energy": [0.5, 0.9], "eigenvalues": [0.1, 0.2 + 0.1 * i]}
    validate(result)
    return result


def charts_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="charts">(.*?)</script>', page, re.S)
    assert found is not None
    return json.loads(found[1])


# -- What it is made of ----------------------------------------------------------------------------


def test_eigenvalues_needed() -> None:
    needed = eigenvalues_needed(torch.tensor([1.0, 6.0, 3.0, 0.0]), (0.3, 0.6, 0.9, 0.95, 1.0))
    assert needed == pytest.approx([0.125, 0.25, 0.5, 0.625, 0.75])


@pytest.mark.parametrize("length", [1, 5, MOST_BINS, MOST_BINS + 1, 4096])
def test_histogram_counts_what_is_not_rare(length: int) -> None:
    counts = torch.randint(1, 100, (length,), generator=torch.Generator().manual_seed(length))
    drawn = drawn_histogram(counts, -length // 2)
    kept = torch.tensor(drawn["counts"])
    assert len(kept) <= MOST_BINS
    start = drawn["first"] + length // 2 + (length % 2)
    for i, count in enumerate(drawn["counts"]):
        low = start + i * drawn["width"]
        assert count <= int(counts[low : low + drawn["width"]].sum())
    assert 0.995 * int(counts.sum()) <= int(kept.sum()) <= int(counts.sum())


def test_histogram_of_nothing() -> None:
    assert drawn_histogram(torch.zeros(9, dtype=torch.int64), -4)["counts"] == []


def test_report_has_histograms() -> None:
    x = torch.randn(2, 6, 8, 8, generator=torch.Generator().manual_seed(0))
    x[:, 3:] *= 0.01
    model = torch.nn.Sequential(torch.nn.Conv2d(6, 4, 1), torch.nn.ReLU(), torch.nn.Conv2d(4, 6, 1))
    compressed = fmtc.compress(model.eval(), x, "paper", bits=6, points="paper")
    compressed(x)
    for layer in compressed.report().layers:
        values = layer["histogram"]["counts"]
        codec = compressed.codecs[layer["name"]]
        assert 0 < sum(values) <= layer["values"]
        variances = codec.transform.energies
        assert variances is not None and len(variances) == codec.channels


# -- The page --------------------------------------------------------------------------------------


def test_page_needs_nothing_else() -> None:
    page = html_page([("a.json", result_with(6, 8))])
    assert len(page.encode()) < 3_000_000
    outside = re.sub(r"<script>.*?</script>", "", page, flags=re.S)  # the library names its home
    assert not re.search(r"(?:src|href)\s*=|url\(|@import", outside)
    assert "default-src 'none'" in page


def test_page_shows_each_number_of_a_point() -> None:
    page = html_page([("a.json", result_with(6, 8))])
    for text in ("b = 6", "b = 8", "2.200", "2.933", "42.0–54.0", "90.0 %", "0.0100", "1.50×"):
        assert text in page, text


def test_curves_have_intervals_and_streams_are_solid() -> None:
    charts = charts_of(html_page([("a.json", result_with(6, 8))]))
    curve = charts["curve-0-kl"]
    values = curve["data"]["values"]
    assert [row["y"] for row in values if row["rate"] == "stream"] == [0.01, 0.01]
    assert {row["low"] for row in values if row["rate"] == "stream"} == {0.008}
    assert {row["low"] for row in values if row["rate"] != "stream"} == {None}
    [line] = [part for part in curve["layer"] if part["mark"]["type"] == "line"]
    scale = line["encoding"]["strokeDash"]["scale"]
    dashes = dict(zip(scale["domain"], scale["range"], strict=True))
    assert dashes["stream"] == [1, 0] and dashes["entropy"] != [1, 0]


def test_results_of_two_networks_have_curves_of_their_own() -> None:
    charts = charts_of(
        html_page([("a.json", result_with(6, name="one")), ("b.json", result_with(8, name="two"))])
    )
    assert {"curve-0-kl", "curve-1-kl"} <= charts.keys()


def test_what_is_not_known_is_left_out() -> None:
    result = result_with(8)
    [point] = result["points"]
    point |= {"top1": None, "top1_interval": None, "kl": None, "kl_interval": None, "written": None}
    point["bits_per_value"]["stream"] = None
    for layer in point["layers"]:
        del layer["histogram"], layer["spectrum"]
        layer["reads"] = None
        layer["bits_per_value"]["stream"] = None
    charts = charts_of(html_page([("a.json", result)]))
    assert charts.keys() == {"curve-0-agreement", "curve-0-snr_db", "layers"}


def test_names_cannot_leave_their_place() -> None:
    result = result_with(8, name=HOSTILE)
    result["command"] = HOSTILE
    result["points"][0]["layers"][0]["name"] = HOSTILE
    page = html_page([(HOSTILE, result)])
    assert "<b id=broken>" not in page
    rows = charts_of(page)["layers"]["data"]["values"]
    assert rows[0]["name"] == HOSTILE


def test_command_writes_beside_the_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_result(result_with(8), tmp_path / "result.json")
    assert main(["report", str(tmp_path / "result.json")]) == 0
    assert (tmp_path / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert "report.html" in capsys.readouterr().out


def test_command_replaces_no_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "result.json"
    write_result(result_with(8), file)
    before = file.read_bytes()
    (tmp_path / "link.json").symlink_to(file)
    assert main(["report", str(file), "-o", str(tmp_path / "link.json")]) == 2
    assert "a result that is read: give another -o" in capsys.readouterr().err
    assert file.read_bytes() == before


def test_command_names_what_is_no_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.json").write_text("{}")
    assert main(["report", str(tmp_path / "x.json")]) == 2
    assert "not a result" in capsys.readouterr().err
    assert not (tmp_path / "report.html").exists()


# -- In a browser ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The page of two points in Chromium, and all it asked for and complained of."""
    if CHROMIUM is None:
        pytest.skip("Chromium is missing (Debian: apt-get install chromium)")
    playwright = pytest.importorskip("playwright.sync_api")
    file = tmp_path_factory.mktemp("page") / "report.html"
    result = result_with(6, 8)
    other = copy.deepcopy(result["points"][0]["layers"][0])
    other |= {"name": "abc", "shape": [2, 2, 2]}
    for point in result["points"]:
        point["layers"].append(other)
    file.write_text(html_page([("a.json", result)]), encoding="utf-8")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1240, "height": 900})
        page.asked, page.complaints = [], []
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("console", lambda message: page.complaints.append(message.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.goto(file.as_uri())
        page.wait_for_selector("body[data-drawn]")
        yield page
        browser.close()


def test_browser_draws_all_and_asks_for_nothing(opened: Any) -> None:
    assert len(opened.asked) == 1 and opened.asked[0].startswith("file:")
    assert opened.complaints == []
    drawn = [chart.get_attribute("id") for chart in opened.query_selector_all(".chart:has(svg)")]
    assert sorted(drawn) == sorted(charts_of(opened.content()))


def shown_layers(page: Any) -> list[str]:
    return page.eval_on_selector_all(
        ".layers:not([hidden]) tbody tr", "rows => rows.map(row => row.dataset.layer)"
    )


def test_browser_sorts_by_number(opened: Any) -> None:
    before = shown_layers(opened)
    opened.click(".layers:not([hidden]) th >> text=kbit")
    cells = ".layers:not([hidden]) tbody tr td:nth-child(4)"
    numbers = [float(text) for text in opened.locator(cells).all_inner_texts()]
    assert numbers == sorted(numbers, reverse=True)
    opened.click(".layers:not([hidden]) th >> text=kbit")
    numbers = [float(text) for text in opened.locator(cells).all_inner_texts()]
    assert numbers == sorted(numbers)
    assert sorted(shown_layers(opened)) == sorted(before)


def test_browser_shows_the_chosen_point_and_layer(opened: Any) -> None:
    opened.select_option("#point", "0")
    assert "b = 6" in opened.inner_text(".layers:not([hidden]) caption")
    opened.select_option("#layer", "layer1.conv")
    assert opened.inner_text("tr.now:visible td").startswith("layer1.conv")
    # The middle bar of five has 6 of 6 + 8 + 1, whichever layer it is: layer 1 has a 4 beside it.
    opened.wait_for_function(
        "[...document.querySelectorAll('#histogram [aria-label]')]"
        ".some(bar => bar.getAttribute('aria-label').includes('40.00%'))"
    )


def test_browser_tells_a_point_where_the_mouse_is(opened: Any) -> None:
    opened.locator("#curve-0-snr_db .mark-symbol path").first.hover()
    tip = opened.wait_for_selector("#vg-tooltip-element.visible")
    assert "bits a value" in tip.inner_text() and "paper" in tip.inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_browser_finds_it_accessible(opened: Any, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    opened.emulate_media(color_scheme=scheme)
    found = axe.run(opened).response["violations"]
    assert [v for v in found if v["impact"] in ("serious", "critical")] == []
