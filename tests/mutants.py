"""Mutants: small changes of the code, of which the tests should notice each.

    python tests/mutants.py --sample 100 --seed 0 [--files fmtc/calibration/refit.py ...]

A mutant is one changed place of one file: a comparison or an operator replaced, a condition
negated, a number changed, a statement left out. Each runs in a process of its own with the tests
that are about its file (TESTS), which stop at the first failure. It prints the survivors, and the
score: the share that was noticed. Some survivors change nothing that could be noticed; each is
worth a look.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# The tests of each file, by what they are about.
TESTS = {
    "fmtc/codec": "codec symbols positions transform baselines storage",
    "fmtc/codec/ranges.py": "baselines",
    "fmtc/codec/counted.py": "module evaluate distributed",
    "fmtc/network": "capture graph weights compress preset",
    "fmtc/network/weights.py": "weights",
    "fmtc/network/outputs.py": "outputs evaluate",
    "fmtc/evaluation/snr.py": "outputs evaluate",
    "fmtc/calibration": "preset compress refit sensitivity placement",
    "fmtc/calibration/fit.py": "codec baselines compress",
    "fmtc/calibration/tables.py": "codec positions symbols",
    "fmtc/calibration/tensor.py": "codec baselines",
    "fmtc/calibration/search.py": "targets",
    "fmtc/calibration/refit.py": "refit preset",
    "fmtc/calibration/sensitivity.py": "sensitivity preset",
    "fmtc/calibration/placement.py": "placement preset",
    "fmtc/calibration/units.py": "outputs sensitivity",
    "fmtc/calibration/balance.py": "outputs",
}
SECONDS = 240  # for a mutant's tests; one that takes longer counts as noticed

COMPARISONS = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
OPERATORS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr, ast.LShift: ast.RShift, ast.RShift: ast.LShift,
}  # fmt: skip


def places(file: str) -> list[tuple[str, int, int]]:
    """(file, number of its node, number of the node's change) for every mutant of a file."""
    nodes = _nodes(ast.parse(Path(file).read_text(encoding="utf-8")))
    return [(file, i, k) for i, node in enumerate(nodes) for k, _ in enumerate(_of(node))]


def mutant_of(file: str, node: int, change: int) -> tuple[ast.Module, int, str]:
    """The changed tree, the line, and what was changed."""
    tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    changed = _nodes(tree)[node]
    what, apply = list(_of(changed))[change]
    apply(changed)
    return ast.fix_missing_locations(tree), changed.lineno, what


def _nodes(tree: ast.Module) -> list[ast.AST]:
    return [node for node in ast.walk(tree) if hasattr(node, "lineno")]


def _of(node: ast.AST) -> Iterator[tuple[str, Callable]]:
    if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARISONS:
        other = COMPARISONS[type(node.ops[0])]
        yield f"{type(node.ops[0]).__name__} -> {other.__name__}", _set_comparison(other)
    elif isinstance(node, (ast.BinOp, ast.AugAssign)) and type(node.op) in OPERATORS:
        if not (isinstance(node, ast.BinOp) and _is_text_or_type(node)):
            other = OPERATORS[type(node.op)]
            yield f"{type(node.op).__name__} -> {other.__name__}", _set_operator(other)
    elif isinstance(node, (ast.If, ast.IfExp)):
        yield "condition negated", _negate
    elif isinstance(node, ast.BoolOp):
        yield "and <-> or", _swap_and_or
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield f"{node.value} -> {node.value + 1}", _one_more
    elif isinstance(node, ast.Constant) and type(node.value) is bool:
        yield f"{node.value} -> {not node.value}", _flip
    if isinstance(node, (ast.FunctionDef, ast.For, ast.If)):
        for i, statement in enumerate(node.body):
            if isinstance(statement, (ast.AugAssign, ast.Expr, ast.For)) and not isinstance(
                getattr(statement, "value", None), ast.Constant
            ):
                text = ast.unparse(statement).splitlines()[0][:50]
                yield f"without line {statement.lineno}: {text}", _without(i)


def _is_text_or_type(node: ast.BinOp) -> bool:
    """A union of types, or parts of a string."""
    ends = (node.left, node.right)
    text = any(isinstance(e, (ast.JoinedStr, ast.Constant)) and _is_text(e) for e in ends)
    return text or isinstance(node.op, ast.BitOr)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or isinstance(getattr(node, "value", None), str)


def _set_comparison(other):
    return lambda node: node.ops.__setitem__(0, other())


def _set_operator(other):
    return lambda node: setattr(node, "op", other())


def _negate(node):
    node.test = ast.UnaryOp(ast.Not(), node.test)


def _swap_and_or(node):
    node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()


def _one_more(node):
    node.value += 1


def _flip(node):
    node.value = not node.value


def _without(index):
    return lambda node: node.body.__setitem__(index, ast.Pass())


# -- Running --------------------------------------------------------------------------------------


def tests_of(file: str) -> list[str]:
    """The test files of a file: of the longest prefix in TESTS."""
    prefix = max((key for key in TESTS if file.startswith(key)), key=len)
    return [f"tests/test_{name}.py" for name in TESTS[prefix].split()]


def is_noticed(file: str, mutant: ast.Module) -> bool:
    """Whether a test fails, in a process of its own."""
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        _run(file, mutant)
    started = time.monotonic()
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) != 0
        if time.monotonic() - started > SECONDS:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return True
        time.sleep(0.1)


def _run(file: str, mutant: ast.Module) -> None:
    """Run the tests with the mutant in the place of its file, and leave."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    os.dup2(devnull, 2)
    path, original = str(ROOT / file), SourceFileLoader.get_code

    def get_code(self, name):
        if os.path.realpath(self.get_filename(name)) == path:
            return compile(mutant, path, "exec")
        return original(self, name)

    SourceFileLoader.get_code = get_code
    import pytest

    quiet = ["-x", "-q", "-p", "no:cacheprovider", "-m", "not slow"]
    os._exit(int(pytest.main([*quiet, *tests_of(file)])))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sample", type=int, default=100, help="mutants, at random (100)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--files", nargs="+", help="default: codec/, network/ and calibration/")
    args = parser.parse_args()
    os.chdir(ROOT)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    rooms = ("codec", "network", "calibration")
    files = args.files or sorted(str(p) for r in rooms for p in Path(f"fmtc/{r}").glob("*.py"))
    import hypothesis  # noqa: F401  what every mutant's process starts with
    import torch

    torch.set_num_threads(1)
    mutants = [place for file in files for place in places(file)]
    chosen = random.Random(args.seed).sample(mutants, min(args.sample, len(mutants)))
    survived = 0
    for number, place in enumerate(chosen, start=1):
        file, (mutant, line, what) = place[0], mutant_of(*place)
        noticed = is_noticed(file, mutant)
        survived += not noticed
        if not noticed:
            print(f"survived: {file}:{line}: {what}", flush=True)
        print(f"\r{number}/{len(chosen)}", end="\r", file=sys.stderr, flush=True)
    score = 1 - survived / len(chosen)
    print(f"{len(mutants)} mutants, {len(chosen)} tried, {survived} survived: score {score:.0%}")


if __name__ == "__main__":
    main()
