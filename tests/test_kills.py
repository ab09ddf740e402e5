"""A few kills of what writes files; `make check-kills` has hundreds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# All but those that compile or compress for long.
SCENARIOS = ("large", "save", "codec", "reference", "encode", "decode", "eval")


def test_what_was_finished_is_whole_after_a_kill(build_tree):
    programs = (build_tree / "csrc" / "codec" / "fmtc_codec").exists()
    chosen = [name for name in SCENARIOS if programs or name not in ("encode", "decode")]
    command = [sys.executable, Path(__file__).with_name("kills.py"), *chosen, "--kills", "6"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("all is whole\n")
