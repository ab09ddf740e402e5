"""`python -m fmtc` is the command `fmtc`."""

import sys

from .cli import main

sys.exit(main())
