"""`python -m fmtc` is the command `fmtc`."""

import sys

from .cli.main import main

sys.exit(main())
