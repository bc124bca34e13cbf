import json
import os
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


def test_the_content_is_synced_before_it_takes_the_name(tmp_path, monkeypatch):
    calls = []
    sync, take = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (calls.append("fsync"), sync(handle)))
    monkeypatch.setattr(os, "replace", lambda a, b: (calls.append(("replace", Path(a).parent)), take(a, b)))
    files.replace(tmp_path / "x", "text")
    assert calls == ["fsync", ("replace", tmp_path)]
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o644


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
