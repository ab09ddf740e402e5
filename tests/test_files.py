"""Writing files whole, through links and into devices, from Python and from the programs.

Faults of the world: a full disk, missing rights, links in a circle, another process in the folder.
"""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest

import fmtc
from fmtc import files
from fmtc.files import check_writable, kept_to_one, write_atomically

NOBODY = 65534


class Python:
    """fmtc/files.py as the writer; ``contents`` are the two files that it writes."""

    def __init__(self, folder: Path):
        self.contents = b"first" * 1000, b"second" * 2000

    def __call__(self, path: str | os.PathLike, which: int = 0) -> None:
        write_atomically(path, self.contents[which])

    def to_stdout(self, stdout) -> None:
        code = (
            "import runpy, sys; print('before', flush=True); "
            f"runpy.run_path({files.__file__!r})['write_atomically']('/dev/stdout', b'data'); "
            "print('behind')"
        )
        subprocess.run([sys.executable, "-c", code], stdout=stdout, check=True)

    said_on_stdout = b"before\ndata", b"behind\n"


class Program:
    """fmtc_codec as the writer; what it says when it fails is raised as an OSError."""

    def __init__(self, folder: Path, program: Path):
        self.program, self.folder = program, folder
        codec = fmtc.calibrate_tensor(np_samples(0), "paper", bits=6)
        codec.save(folder / "codec.safetensors")
        for which in (0, 1):
            np.save(folder / f"{which}.npy", np_samples(which).numpy())
            self(folder / f"{which}.bundle", which)
        self.contents = tuple((folder / f"{which}.bundle").read_bytes() for which in (0, 1))

    def command(self, path: str | os.PathLike, which: int = 0) -> list[str]:
        inputs = self.folder / "codec.safetensors", self.folder / f"{which}.npy"
        return [str(self.program), "encode", *map(str, inputs), str(path)]

    def __call__(self, path: str | os.PathLike, which: int = 0) -> None:
        # Without restore_signals, as a shell would: a file beyond its limit ends the program.
        done = subprocess.run(
            self.command(path, which), capture_output=True, text=True, restore_signals=False
        )
        if done.returncode == 0:
            return
        assert done.returncode == 2 and done.stderr.startswith("fmtc_codec: "), done
        code = next((c for c in errno.errorcode if os.strerror(c) in done.stderr), None)
        raise OSError(code, done.stderr)

    def to_stdout(self, stdout) -> None:
        subprocess.run(self.command("/dev/stdout"), stdout=stdout, check=True)

    said_on_stdout = b"fb", b"bits/value\n"


def np_samples(seed: int):
    import torch

    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module", params=["Python", "program"])
def write(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("writer")
    folder.chmod(0o755)
    if request.param == "Python":
        return Python(folder)
    program = request.getfixturevalue("build_tree") / "csrc" / "codec" / "fmtc_codec"
    if not program.exists():
        pytest.skip("fmtc_codec was not built: `make build-programs`")
    return Program(folder, program)


@pytest.fixture
def plain_user():
    """A folder for a user who may not write everywhere, as root may."""
    folder = Path(tempfile.mkdtemp(prefix="fmtc-test-"))
    folder.chmod(0o777)
    was_root = os.geteuid() == 0
    if was_root:
        os.seteuid(NOBODY)
    yield folder
    if was_root:
        os.seteuid(0)
    for part in folder.rglob("*"):
        part.chmod(0o700)
    shutil.rmtree(folder)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def usual_mode() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def test_a_file_is_replaced_and_keeps_its_permissions(write, tmp_path):
    path = tmp_path / "file"
    write(path, 0)
    assert stat.S_IMODE(path.stat().st_mode) == usual_mode()
    for mode in (0o600, 0o755):
        path.chmod(mode)
        write(path, 1)
        assert path.read_bytes() == write.contents[1]
        assert stat.S_IMODE(path.stat().st_mode) == mode
    assert names(tmp_path) == ["file"]


def test_folders_are_made(tmp_path):
    write_atomically(str(tmp_path / "a" / "b" / "file"), b"data")
    assert names(tmp_path / "a" / "b") == ["file"]


def test_a_link_stays_one(write, tmp_path):
    (tmp_path / "store").mkdir()
    link, target = tmp_path / "link", tmp_path / "store" / "file"
    link.symlink_to("store/file")
    for which in (0, 1):  # what it points to need not be there
        write(link, which)
        assert link.is_symlink() and target.read_bytes() == write.contents[which]
    (tmp_path / "folder").symlink_to("store")
    write(tmp_path / "folder" / "file", 0)
    assert target.read_bytes() == write.contents[0] and (tmp_path / "folder").is_symlink()
    (tmp_path / "far").symlink_to(link)
    write(tmp_path / "far", 1)
    assert target.read_bytes() == write.contents[1] and link.is_symlink()
    assert names(target.parent) == ["file"]


def test_links_in_a_circle_are_refused(write, tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        write(tmp_path / "a")
    assert (tmp_path / "a").is_symlink() and names(tmp_path) == ["a", "b"]


def test_a_device_and_a_pipe_are_written_into(write, tmp_path):
    write("/dev/null")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    (tmp_path / "link").symlink_to("pipe")
    for path in (pipe, tmp_path / "link"):
        reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
        reader.start()
        write(path)
        reader.join()
    assert read == [write.contents[0]] * 2 and stat.S_ISFIFO(pipe.stat().st_mode)
    assert names(tmp_path) == ["link", "pipe"]


def test_what_is_open_is_written_where_it_stands(write, tmp_path):
    """/dev/stdout where it was sent into a file, or into a pipe."""
    begin, end = write.said_on_stdout
    with (tmp_path / "out").open("wb") as file:
        write.to_stdout(file)
    written = (tmp_path / "out").read_bytes()
    assert written.startswith(begin) and written.endswith(end)
    assert names(tmp_path) == ["out"]
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as cat:
        write.to_stdout(cat.stdin)
        cat.stdin.close()
        assert cat.stdout.read() == written


def test_a_folder_is_no_file(write, tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="Is a directory") as caught:
        write(tmp_path / "folder")
    assert str(tmp_path / "folder") in str(caught.value) and names(tmp_path) == ["folder"]


@pytest.mark.parametrize("name", ["file/below", "n" * 300])
def test_errors_name_the_path_and_leave_nothing(write, tmp_path, name):
    (tmp_path / "file").write_bytes(b"here")
    with pytest.raises(OSError) as caught:
        write(tmp_path / name)
    assert str(tmp_path) in str(caught.value) and ".fmtc-" not in str(caught.value)
    assert (tmp_path / "file").read_bytes() == b"here"
    assert names(tmp_path) == ["file"]


# -- A full disk, missing rights -------------------------------------------------------------------


def test_a_full_device_is_said(write):
    with pytest.raises(OSError, match="No space left on device"):
        write("/dev/full")


def test_a_disk_without_room_leaves_the_earlier_file(write, tmp_path):
    """Room for a part of the file alone, as RLIMIT_FSIZE makes it."""
    path = tmp_path / "file"
    write(path, 0)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(write.contents[1]) // 2, hard))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            write(path, 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(path) in str(caught.value)
    assert path.read_bytes() == write.contents[0] and names(tmp_path) == ["file"]


def test_errors_at_the_end_leave_the_earlier_file(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    path = tmp_path / "file"
    path.write_bytes(b"earlier")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*/file'"):
        write_atomically(path, b"later")
    assert path.read_bytes() == b"earlier" and names(tmp_path) == ["file"]


def test_a_read_only_folder_is_said(write, plain_user):
    folder = plain_user / "folder"
    folder.mkdir()
    folder.chmod(0o500)
    with pytest.raises(OSError, match="Permission denied"):
        write(folder / "file")
    assert not names(folder)


def test_a_read_only_file_is_not_replaced(write, plain_user):
    path = plain_user / "file"
    path.write_bytes(b"kept")
    path.chmod(0o400)
    with pytest.raises(OSError, match="Permission denied"):
        write(path)
    assert path.read_bytes() == b"kept" and names(plain_user) == ["file"]


def test_what_cannot_be_printed_is_said(build_tree):
    program = build_tree / "csrc" / "codec" / "fmtc_codec"
    if not program.exists():
        pytest.skip("fmtc_codec was not built: `make build-programs`")
    golden = Path(__file__).parent / "data" / "golden"
    with open("/dev/full", "w") as full:
        command = [program, "info", golden / "one-image.bundle"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 2 and b"standard output cannot be written" in done.stderr


# -- Folders ---------------------------------------------------------------------------------------


def test_trying_a_folder_leaves_no_trace(tmp_path):
    check_writable(tmp_path / "a" / "b")
    check_writable(tmp_path)
    assert not list(tmp_path.iterdir())
    (tmp_path / "kept").mkdir()
    check_writable(tmp_path / "kept")
    check_writable(tmp_path / "kept" / "below")
    assert (tmp_path / "kept").is_dir() and not list((tmp_path / "kept").iterdir())
    (tmp_path / "file").write_bytes(b"")
    for wrong in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/nope")):
        with pytest.raises(OSError):
            check_writable(wrong)


def test_a_folder_without_rights_is_told(plain_user):
    (plain_user / "folder").mkdir(0o500)
    for folder in (plain_user / "folder", plain_user / "folder" / "below"):
        with pytest.raises(PermissionError):
            check_writable(folder)


def test_a_folder_is_kept_to_one(tmp_path):
    (tmp_path / "link").symlink_to("folder")
    with kept_to_one(tmp_path / "folder"):
        for path in (tmp_path / "folder", tmp_path / "link"):
            with (
                pytest.raises(BlockingIOError, match=r"another process .*: '"),
                kept_to_one(path),
            ):
                pass
        with kept_to_one(tmp_path / "other"):  # another one is free
            pass
        write_atomically(tmp_path / "folder" / "file", b"data")
    with kept_to_one(tmp_path / "folder"):
        pass
    assert names(tmp_path) == ["folder", "link"] and names(tmp_path / "folder") == ["file"]


def test_a_killed_process_keeps_no_folder(tmp_path):
    code = (
        f"import runpy, time; made = runpy.run_path({files.__file__!r}); "
        f"kept = made['kept_to_one']({str(tmp_path)!r}); kept.__enter__(); "
        "print('has it', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert other.stdout.readline() == b"has it\n"
    with pytest.raises(BlockingIOError), kept_to_one(tmp_path):
        pass
    other.send_signal(signal.SIGKILL)
    other.communicate()
    with kept_to_one(tmp_path):
        pass


def test_without_locks_nothing_is_kept(tmp_path, monkeypatch):
    def unsupported(handle, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", unsupported)
    with kept_to_one(tmp_path), kept_to_one(tmp_path):
        pass
