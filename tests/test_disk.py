import errno
import os

import pytest

from thawlab import disk
from thawlab.errors import UserError


@pytest.mark.parametrize(
    ("error", "says"),
    [
        pytest.param(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "No space left on device. Make room", id="full"),
        pytest.param(OSError(errno.EROFS, "x"), "Read-only file system. It is mounted", id="read-only"),
        pytest.param(PermissionError(errno.EACCES, "x", "a"), "Permission denied. It is not yours", id="another's"),
        pytest.param(RuntimeError("I/O error: No space left on device (os error 28)"), "Make room", id="a library's"),
    ],
)
def test_the_folder_the_fact_and_the_remedy_are_said(error, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = disk.fault(error, tmp_path / "outputs" / "run")
    assert message.startswith("outputs/run cannot be written: ")
    assert says in message


def test_other_errors_are_none_of_the_disks():
    assert disk.fault(FileNotFoundError(errno.ENOENT, "x"), "a") is None
    assert disk.fault(ValueError("planted"), "a") is None


def test_a_folder_that_takes_nothing_is_refused_and_one_that_does_is_left_as_it_was(tmp_path, monkeypatch):
    disk.check_writable(tmp_path)
    assert list(tmp_path.iterdir()) == []

    def full(_):
        raise OSError(errno.ENOSPC, "x")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="cannot be written: No space left"):
        disk.check_writable(tmp_path)
    assert list(tmp_path.iterdir()) == []
