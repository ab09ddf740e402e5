"""Runs a command and prints as JSON: seconds to its first line, its last line, its peak memory.

    python launch.py COMMAND...

A process counts the memory of the one that started it into its own peak, so this one is small and
imports nothing of the project.
"""

import json
import os
import subprocess
import sys
import time

began = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, text=True)
first_line = process.stdout.readline()
seconds = time.perf_counter() - began
*_, last_line = [first_line, *process.stdout]
_, status, usage = os.wait4(process.pid, 0)
process.returncode = os.waitstatus_to_exitcode(status)
if process.returncode != 0 or not first_line:
    sys.exit(f"failed: {' '.join(sys.argv[1:])}")
peak_bytes = 1024 * usage.ru_maxrss
print(json.dumps({"first_line": seconds, "last_line": last_line, "peak_bytes": peak_bytes}))
