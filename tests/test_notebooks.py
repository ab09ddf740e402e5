"""The notebooks run from top to bottom, and show their figures."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def test_there_are_notebooks():
    assert len(NOTEBOOKS) == 3


def notebook(path: Path):
    marks = [pytest.mark.slow] if path.stem == "split_inference" else []
    return pytest.param(path, marks=marks, id=path.stem)


@pytest.mark.parametrize("path", map(notebook, NOTEBOOKS))
def test_notebook_runs_and_shows_its_figures(path, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    if path.stem == "split_inference":
        for package in ("fastapi", "uvicorn", "prometheus_client", "httpx"):
            pytest.importorskip(package, reason="of the extra fmtc[serve]")
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert all(not cell.get("outputs") for cell in notebook.cells)  # committed without them
    nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    figures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(figures) == 1 and len(figures[0]["data"]["image/png"]) > 20_000
    printed = "".join(output.get("text", "") for output in outputs)
    assert "bits a value" in printed and "Traceback" not in printed
