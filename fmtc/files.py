"""Files that are there as a whole or not at all, and folders that one process at a time fills."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

TEMPORARY = ".fmtc-"  # how names of files begin that are not whole yet
MOST_LINKS = 40  # that a path may lead through, as Linux has it


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Write under a temporary name in the same folder (made if needed), then rename.

    A symbolic link stays one: what it points to is replaced. A file that is replaced keeps its
    permissions, and is refused where these forbid writing. What exists and is no regular file (a
    device, a pipe), and what names an open file (/dev/stdout), is written into. A process that is
    killed leaves the earlier file or the new one, and at worst another one called .fmtc-*, which
    may be removed. OSError names the path.
    """
    try:
        descriptor = _descriptor(path)
        if descriptor is not None or (os.path.exists(path) and not os.path.isfile(path)):
            _write_into(path if descriptor is None else os.dup(descriptor), data)
        else:
            _replace(Path(os.path.realpath(path)), data)
    except OSError as error:
        named = isinstance(error.filename, str)  # and no number of a descriptor
        if (named and not Path(error.filename).name.startswith(TEMPORARY)) or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(os.path.realpath(path))) from error


def _descriptor(path: str | os.PathLike[str]) -> int | None:
    """The number of the open file of this process that a path stands for, as /dev/stdout does."""
    text = os.fspath(path)
    for _ in range(MOST_LINKS):
        folder, name = os.path.split(text)
        if name.isdigit() and os.path.realpath(folder) == f"/proc/{os.getpid()}/fd":
            return int(name)
        if not os.path.islink(text):
            return None
        text = os.path.join(folder, os.readlink(text))
    return None


def _write_into(path: str | os.PathLike[str] | int, data: bytes) -> None:
    with open(path, "wb") as file:  # IsADirectoryError for a folder
        file.write(data)


def _replace(target: Path, data: bytes) -> None:
    if target.is_symlink():  # links that lead nowhere are all that is not resolved by now
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(target))
    target.parent.mkdir(parents=True, exist_ok=True)
    mode = _mode(target)
    if mode is not None and not os.access(target, os.W_OK, effective_ids=True):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(target))
    temporary = target.with_name(f"{TEMPORARY}{secrets.token_hex(8)}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def _mode(path: Path) -> int | None:
    """The permissions of a file; None where there is none."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return None


def check_writable(folder: str | os.PathLike[str]) -> None:
    """Raise OSError now where files could not be written into this folder later.

    It, and the folders above it, may be missing; what is made to try it is taken away again.
    """
    with _writable(Path(folder)):
        pass


@contextmanager
def kept_to_one(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Keep a folder, which is made if needed, to this process while it writes its results there.

    OSError: no files can be written into it; BlockingIOError: another process, or another such
    context of this one, has it. It is free again when the process ends, however it ends. Some file
    systems of networks have no locks of folders; there, nothing is kept. What was made and has
    stayed empty is taken away again.
    """
    with _writable(Path(folder)), _locked(folder):
        yield


@contextmanager
def _writable(folder: Path) -> Iterator[None]:
    """A folder that files can be written into, made if needed, removed again where it is empty."""
    made = [part for part in (folder, *folder.parents) if not part.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        yield
    finally:
        for part in made:
            with suppress(OSError):  # not made, or somebody has put something into it
                part.rmdir()


@contextmanager
def _locked(folder: str | os.PathLike[str]) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        message = "another process writes its results there"
        raise BlockingIOError(errno.EWOULDBLOCK, message, str(folder)) from None
    except OSError:  # a file system without such locks
        pass
    try:
        yield
    finally:
        os.close(handle)
