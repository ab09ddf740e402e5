"""What the README and the guides show is what works: code runs, commands and targets exist."""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from fmtc.cli.main import build_parser

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "docs" / "start.md",
    *sorted((ROOT / "docs/guides").glob("*.md")),
]
PROGRAMS = ("fmtc_infer", "fmtc_eval", "fmtc_codec")


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page of this language, "" for commands."""
    fenced = re.findall(r"^```([^\n]*)\n(.*?)^```", page.read_text(encoding="utf-8"), re.S | re.M)
    return [text for named, text in fenced if named == language]


def commands(page: Path) -> list[str]:
    """The lines of its command blocks, those that go on joined, without comments."""
    joined = [block.replace("\\\n", " ") for block in blocks(page, "")]
    lines = [re.sub(r"\s#.*", "", line).strip() for block in joined for line in block.splitlines()]
    return [part.strip() for line in lines for part in line.split(" && ") if part.strip()]


ALL = [(page, line) for page in PAGES for line in commands(page)]


def test_pages_have_commands_and_code():
    assert len(ALL) > 20 and len(blocks(ROOT / "README.md", "python")) >= 2


@pytest.mark.parametrize("line", [line for _, line in ALL if re.match(r"fmtc\s", line)])
def test_commands_are_understood(line: str):
    """Their options are those of the command; what `...` stands for is the command before."""
    words = shlex.split(line.replace("...", "--model m --data d"))[1:]
    build_parser().parse_args(words)


@pytest.mark.parametrize("line", [line for _, line in ALL if "python -m experiments" in line])
def test_experiments_are_there(line: str):
    assert importlib.util.find_spec(line.partition("-m ")[2].split()[0]) is not None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_targets_are_there(page: Path):
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(
        r"(?:^|`)make ([a-z][a-z-]*)\b", page.read_text(encoding="utf-8"), re.M
    ):
        assert re.search(rf"^{target}:", makefile, re.M), target


def test_every_command_is_of_a_kind_that_is_checked():
    """Of others only what a system has, and the programs, whose options their own tests check."""
    known = r"(fmtc|make|python -m|torchrun|pip|apt-get|cmake|D=|\. |\S*python export.py)"
    programs = "|".join(PROGRAMS)
    for page, line in ALL:
        assert re.match(known, line) or re.search(programs, line) or "build/example" in line, (
            page.name,
            line,
        )


def test_readme_runs_as_pasted(tmp_path, monkeypatch):
    """One block after the other in one session; what it prints is what stands below."""
    monkeypatch.chdir(tmp_path)
    session: dict = {}
    printed = StringIO()
    readme = ROOT / "README.md"
    with redirect_stdout(printed):
        for code in blocks(readme, "python"):
            exec(compile(code, "README.md", "exec"), session)
    shown = blocks(readme, "text")[0]
    number = r"\d+\.\d+"
    of_both = [
        [float(n) for n in re.findall(number, text.splitlines()[0])]
        for text in (shown, printed.getvalue())
    ]
    assert re.sub(number, "", shown.splitlines()[0]) == re.sub(
        number, "", printed.getvalue().splitlines()[0]
    )
    # A search on few images ends a little elsewhere on a machine that rounds otherwise.
    assert of_both[0][0] == pytest.approx(of_both[1][0], abs=0.05)
    assert of_both[0][1] == pytest.approx(of_both[1][1], abs=1)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_of_pages_is_python(page: Path):
    for code in blocks(page, "python"):
        ast.parse(code)
