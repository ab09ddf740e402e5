"""How much readers and decoders take before they refuse: what comes from outside may say anything.

docs/stream_format.md, "Limits". The C++ programs have the same defaults (csrc/core/stream.h,
csrc/codec/array.h).
"""

from __future__ import annotations

import os

# Of all that a call decodes: 512 MiB of levels, 1 GiB of float32. A stream may hold tens of
# thousands of values a byte.
MAX_VALUES = 2**28
MAX_BYTES = 2**32  # of a file
MAX_PIXELS = 178_956_970  # of an image; what Pillow takes, unless it is told otherwise
NO_LIMIT = 2**63 - 1  # where all sizes are the caller's own


def check_file_size(path: str | os.PathLike[str], max_bytes: int) -> None:
    """Raise ValueError for a file of more bytes; OSError where there is none."""
    size = os.path.getsize(path)
    if size > max_bytes:
        raise ValueError(f"{path} has {size} bytes, more than max_bytes = {max_bytes}")
