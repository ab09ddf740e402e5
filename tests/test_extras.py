"""What `import fmtc` loads, and what is said where a package of an extra is missing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fmtc.extras import PROJECTS, require

ROOT = Path(__file__).resolve().parents[1]

LATER = ("torchvision", "matplotlib", "rich", "PIL", "sklearn", "altair", "vl_convert", "jinja2",
         "torch._dynamo", "torch.utils.flop_counter")  # fmt: skip
# Run first: whoever imports or looks for one of these is told that it is not there.
WITHOUT = "import sys; sys.modules.update(dict.fromkeys({names!r})); "


def python(code: str, *arguments: str, **more) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True, text=True, env=environment, timeout=120, **more,
    )  # fmt: skip


def test_import_loads_torch_and_nothing_heavy():
    code = "import sys, fmtc; print(' '.join(sys.modules))"
    done = python(code)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert "torch" in loaded and "fmtc.cli" not in loaded
    assert not loaded & set(LATER)


def test_hard_dependencies_are_few():
    tomllib = pytest.importorskip("tomllib")  # Python 3.11
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    hard = {re.split(r"[<>= ;]", line)[0] for line in project["dependencies"]}
    assert hard == {"torch", "numpy", "safetensors", "tqdm"}
    extra = project["optional-dependencies"]["eval"]
    served = {"fastapi", "uvicorn", "prometheus-client", "httpx", "httptools"}
    assert set(project["optional-dependencies"]["serve"]) == served
    names = {PROJECTS.get(name, name) for name in LATER if "torch." not in name}
    assert {re.split(r"[<>= ;]", line)[0] for line in extra} == names


def test_import_needs_the_hard_dependencies_alone():
    """The package does all but `fmtc eval` and `fmtc demo` where no extra is installed."""
    code = (
        WITHOUT.format(names=set(LATER[:7]))
        + """
import torch, fmtc
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 3))
compressed = fmtc.compress(model, torch.randn(20, 3, 8, 8), "paper", bits=6)
compressed(torch.randn(2, 3, 8, 8))
print(compressed.report())
"""
    )
    done = python(code)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("missing", "arguments"),
    [
        ("torchvision", ["eval", "--model", "resnet18", "--weights", "none", "--data", "d.npz"]),
        ("matplotlib", ["eval", "--model", "resnet18", "--data", "nowhere"]),
        ("rich", ["eval", "--model", "resnet18", "--data", "nowhere"]),
        ("scikit-learn", ["demo"]),
        ("altair", ["demo"]),
        ("vl-convert-python", ["eval", "--html", "--model", "resnet18", "--data", "nowhere"]),
        ("fastapi", ["serve", "parts.safetensors", "--model", "resnet18"]),
        ("httpx", ["send", "parts.safetensors", "--model", "resnet18", "--url", "x", "d.npz"]),
    ],
)
def test_commands_say_what_to_install(tmp_path, missing, arguments):
    import numpy as np

    np.savez(tmp_path / "d.npz", images=np.zeros((4, 3, 8, 8), np.uint8))
    names = {next((name for name, project in PROJECTS.items() if project == missing), missing)}
    code = WITHOUT.format(names=names) + "from fmtc.cli.main import main; sys.exit(main())"
    done = python(code, *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"fmtc: error: {missing} is needed for this and cannot be ")
    extra = "serve" if arguments[0] in ("serve", "send") else "eval"
    assert done.stderr.endswith(f"; install it with: pip install 'fmtc[{extra}]'\n")
    assert done.stderr.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["d.npz"]


def test_require_gives_the_module_or_the_sentence():
    assert require("os.path", "eval") is os.path
    with pytest.raises(ImportError) as caught:
        require("no_such_package.part", "all")
    assert str(caught.value) == (
        "no_such_package is needed for this and cannot be imported (No module named "
        "'no_such_package'); install it with: pip install 'fmtc[all]'"
    )
    assert caught.value.name == "no_such_package"
