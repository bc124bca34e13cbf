import errno
import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from thawlab import files
from thawlab.errors import UserError


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    files.write_json(path, {"a": 1})

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        files.write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_the_content_is_synced_before_it_takes_the_name_and_the_name_after(tmp_path, monkeypatch):
    calls = []
    sync, take = os.fsync, os.replace

    def synced(handle):
        is_folder = stat.S_ISDIR(os.fstat(handle).st_mode)
        calls.append(("folder" if is_folder else "file", (tmp_path / "x").exists()))
        sync(handle)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", lambda a, b: (calls.append(("name", Path(a).parent)), take(a, b)))
    files.replace(tmp_path / "x", "text")
    assert calls == [("file", False), ("name", tmp_path), ("folder", True)]
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o644


def test_a_full_disk_is_said_of_the_file_and_leaves_nothing(tmp_path):
    path = tmp_path / "x.bin"
    files.publish(path, lambda file: file.write(b"old"))

    def no_room(file):
        file.write(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match="No space left on device") as caught:
        files.publish(path, no_room)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(path))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_written_is_said_of_the_file(tmp_path, monkeypatch):
    def read_only(*_, dir, prefix, suffix):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(dir / f"{prefix}1{suffix}"))

    monkeypatch.setattr(tempfile, "mkstemp", read_only)
    with pytest.raises(OSError, match="Read-only") as caught:
        files.replace(tmp_path / "x", "text")
    assert caught.value.filename == str(tmp_path / "x")


def test_an_error_of_another_file_keeps_its_name(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        files.publish(tmp_path / "x", lambda file: file.write((tmp_path / "absent").read_bytes()))
    assert caught.value.filename == str(tmp_path / "absent")


def test_what_a_killed_writer_leaves_is_swept_up(tmp_path):
    code = f"""
import os, signal, sys; from pathlib import Path; from thawlab import files
files.publish(Path({str(tmp_path)!r}) / "x", lambda file: (file.write(b"half"), os.kill(os.getpid(), signal.SIGKILL)))
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".x.")
    (tmp_path / ".x.kept").touch()
    files.sweep_up(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".x.kept"]


def test_json_takes_arrays_and_has_no_nan(tmp_path):
    path = tmp_path / "x.json"
    several = (np.float64("inf"), np.bool_(True))
    files.write_json(path, {"a": np.float32(0.5), "b": np.array([[1, 2]]), "c": float("nan"), "d": several, 3: None})
    assert files.read_json(path, "") == {"a": 0.5, "b": [[1, 2]], "c": None, "d": [None, True], "3": None}


@pytest.mark.parametrize("garbage", [b"", b"{", b"\xff\xfe", b"[1]", b'{"a": NaN}', b"[" * 100_000])
def test_garbage_is_refused_by_name(tmp_path, garbage):
    path = tmp_path / "x.json"
    path.write_bytes(garbage)
    with pytest.raises(UserError, match=r"x\.json .*Mend it\."):
        files.read_json(path, "Mend it.")


def test_a_row_of_another_width_is_refused_by_line(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("a,b\n1,2\n3\n")
    with pytest.raises(UserError, match=r"x\.csv, line 3: 1 cells where the header has 2"):
        files.read_csv(path, "")
    path.write_text("")
    with pytest.raises(UserError, match="is empty"):
        files.read_csv(path, "")
    with pytest.raises(UserError, match="cannot be read"):
        files.read_csv(tmp_path / "absent.csv", "")
