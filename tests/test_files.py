"""Writing files whole, through links and into devices; trying a folder beforehand."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from fmtc.files import check_writable, write_atomically

needs_rights = pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")


def test_a_file_is_replaced_and_folders_are_made(tmp_path):
    path = tmp_path / "a" / "b" / "file"
    write_atomically(path, b"first")
    write_atomically(str(path), b"second")
    assert path.read_bytes() == b"second" and [p.name for p in path.parent.iterdir()] == ["file"]
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


def test_a_link_stays_one(tmp_path):
    (tmp_path / "store").mkdir()
    link, target = tmp_path / "link", tmp_path / "store" / "file"
    link.symlink_to("store/file")
    for data in (b"made", b"replaced"):  # what it points to need not be there
        write_atomically(link, data)
        assert link.is_symlink() and target.read_bytes() == data
    (tmp_path / "folder").symlink_to("store")
    write_atomically(tmp_path / "folder" / "file", b"through a folder")
    assert target.read_bytes() == b"through a folder" and (tmp_path / "folder").is_symlink()
    assert [p.name for p in target.parent.iterdir()] == ["file"]


def test_a_device_and_a_pipe_are_written_into(tmp_path):
    write_atomically("/dev/null", b"gone")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write_atomically(pipe, b"through")
    reader.join()
    assert read == [b"through"] and stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.parametrize(
    ("name", "error"),
    [("folder", IsADirectoryError), ("file", FileExistsError), ("n" * 300, OSError)],
)
def test_errors_name_the_path_and_leave_nothing(tmp_path, name, error):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"here")
    with pytest.raises(error) as caught:
        write_atomically(tmp_path / name / ("below" if name == "file" else ""), b"data")
    assert str(tmp_path / name) in str(caught.value) and ".fmtc-" not in str(caught.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]
    assert (tmp_path / "file").read_bytes() == b"here"


def test_a_full_disk_leaves_the_earlier_file(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    path = tmp_path / "file"
    path.write_bytes(b"earlier")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*/file'"):
        write_atomically(path, b"later")
    assert path.read_bytes() == b"earlier" and [p.name for p in tmp_path.iterdir()] == ["file"]


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


@needs_rights
def test_a_folder_without_rights_is_told(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError):
        check_writable(tmp_path)
