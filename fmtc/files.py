"""Files that are there as a whole or not at all."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

TEMPORARY = ".fmtc-"  # how names of files begin that are not whole yet


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Write under a temporary name in the same folder (made if needed), then rename.

    A symbolic link stays one: what it points to is written. What exists and is no regular file (a
    device, a pipe) is written into. OSError names the path.
    """
    target = Path(os.path.realpath(path))
    try:
        _write(target, data)
    except OSError as error:
        named = error.filename and not Path(error.filename).name.startswith(TEMPORARY)
        if named or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(target)) from error


def _write(target: Path, data: bytes) -> None:
    if target.exists() and not target.is_file():
        with target.open("wb") as file:  # IsADirectoryError for a folder
            file.write(data)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=TEMPORARY)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes it private
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise


def check_writable(folder: str | os.PathLike[str]) -> None:
    """Raise OSError now where files could not be written into this folder later.

    It, and the folders above it, may be missing; what is made to try it is taken away again.
    """
    folder = Path(folder)
    made = [part for part in (folder, *folder.parents) if not part.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    finally:
        for part in made:
            with suppress(OSError):  # not made, or somebody has put something into it
                part.rmdir()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
