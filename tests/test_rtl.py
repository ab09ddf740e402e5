"""What the documents say of rtl/; its modules are tested by rtl/tests (make rtl-test)."""

from __future__ import annotations

import csv
import importlib.util
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
RTL = ROOT / "rtl"


@pytest.fixture(scope="module")
def report():
    sys.path.insert(0, str(RTL))
    try:
        spec = importlib.util.spec_from_file_location("rtl_report", RTL / "report.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(RTL))
    return module


def test_readme_names_every_module_and_diagram():
    text = (RTL / "README.md").read_text()
    for path in (RTL / "src").glob("*.sv"):
        assert f"`{path.stem}`" in text, path.stem
    for path in (RTL / "diagrams").glob("*.svg"):
        assert f"diagrams/{path.name}" in text, path.name


def test_every_module_says_what_it_does():
    for path in (RTL / "src").glob("*.sv"):
        head, _, rest = path.read_text().partition(f"module {path.stem} ")
        assert rest and head.startswith("// "), path.name


def test_table_of_figures_is_that_of_the_json(report):
    results = json.loads((report.OUT / "hardware.json").read_text())
    with (report.OUT / "hardware.csv").open() as file:
        columns, *rows = csv.reader(file)
    assert columns == report.COLUMNS
    expected = [["" if v is None else str(v) for v in row] for row in report.rows_of(results)]
    assert rows == expected and len(rows) >= len(report.FAMILIES) * 10


def test_table_of_the_readme_is_that_of_the_json(report, tmp_path):
    results = json.loads((report.OUT / "hardware.json").read_text())
    lines = report.table_of(report.rows_of(results))
    text = (RTL / "README.md").read_text()
    assert "\n".join(["|", *lines, "", "What has no figure"]) in text
    copy = tmp_path / "README.md"
    copy.write_text(text.replace(lines[3], "| another | line |"))
    report.write_table(lines, copy)
    assert copy.read_text() == text


def test_figures_are_those_of_the_sources(report):
    """After a change of a module its figures are to be measured again: make rtl-report."""
    results = json.loads((report.OUT / "hardware.json").read_text())
    for key, entry in results["area"].items():
        family = key.rsplit(" ", 1)[1]
        mark = report.fingerprint(entry["module"], entry["parameters"], family)
        assert entry["fingerprint"] == mark, f"{key}: other sources than were measured"


def test_a_change_of_a_part_changes_the_fingerprint(report, tmp_path, monkeypatch):
    for path in report.SOURCES.glob("*.sv"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    before = report.fingerprint("fmtc_huffman_decoder", {}, "ecp5")
    monkeypatch.setattr(report, "SOURCES", tmp_path)
    assert report.fingerprint("fmtc_huffman_decoder", {}, "ecp5") == before
    (tmp_path / "fmtc_crc32c.sv").write_text("// no part of it")
    assert report.fingerprint("fmtc_huffman_decoder", {}, "ecp5") == before
    with (tmp_path / "fmtc_fifo.sv").open("a") as file:
        file.write("// part of its parts")
    assert report.fingerprint("fmtc_huffman_decoder", {}, "ecp5") != before
