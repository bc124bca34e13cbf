"""A checkpoint is whole and sound, or it is not used."""

import hashlib
import io
import os
import pickle
import random

import pytest
import torch

from thawlab import checkpoints

STATE = {
    "global_step": 3,
    "about": {"classes": ["a", "b"], "seconds": 1.5, "found": None},
    "state_dict": {"w": torch.arange(6.0).reshape(2, 3), "n": torch.tensor(4)},
    "optimizer_states": [
        {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.1, "betas": (0.9, 0.99)}]},
    ],
}


def test_what_is_saved_comes_back_to_the_last_bit(tmp_path):
    checkpoints.save(tmp_path, 3, STATE)
    state = checkpoints.newest(tmp_path).state
    assert torch.equal(state["state_dict"]["w"], STATE["state_dict"]["w"])
    assert state["optimizer_states"][0]["param_groups"] == STATE["optimizer_states"][0]["param_groups"]
    assert checkpoints.newest(tmp_path).about == STATE["about"]


def test_torch_alone_can_read_it_without_running_code(tmp_path):
    path = checkpoints.save(tmp_path, 3, STATE)
    assert torch.load(path, weights_only=True)["global_step"] == 3


def test_the_last_two_are_kept(tmp_path):
    for step in (1, 5, 20, 100):
        checkpoints.save(tmp_path, step, STATE)
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["step-000000020.ckpt", "step-000000100.ckpt"]


def _cut(content, _):
    return content[: len(content) // 2]


def _emptied(content, _):
    return b""


def _garbage(content, rng):
    return rng.randbytes(len(content))


def _flipped(content, rng):
    place = rng.randrange(len(content) * 8)
    changed = bytearray(content)
    changed[place // 8] ^= 1 << place % 8
    return bytes(changed)


def _lengthened(content, _):
    return content + b"\0"


@pytest.mark.parametrize("damage", [_cut, _emptied, _garbage, _flipped, _lengthened])
def test_a_damaged_one_is_told_of_once_and_the_one_before_is_used(damage, tmp_path):
    rng = random.Random(0)
    for attempt in range(20):
        folder = tmp_path / str(attempt)
        checkpoints.save(folder, 1, {**STATE, "global_step": 1})
        path = checkpoints.save(folder, 2, {**STATE, "global_step": 2})
        path.write_bytes(damage(path.read_bytes(), rng))
        said = []
        assert checkpoints.newest(folder, said.append).state["global_step"] == 1
        assert len(said) == 1
        assert str(path) in said[0]
        assert "damaged" in said[0]
        assert checkpoints.newest(folder, said.append).state["global_step"] == 1
        assert len(said) == 1


def test_where_none_is_sound_there_is_none(tmp_path):
    checkpoints.save(tmp_path, 1, STATE).write_bytes(b"")
    said = []
    assert checkpoints.newest(tmp_path, said.append) is None
    assert len(said) == 2
    assert "begins anew" in said[1]
    assert checkpoints.newest(tmp_path / "nowhere", said.append) is None
    assert len(said) == 2


def test_a_pickle_with_a_sum_of_its_own_runs_nothing(tmp_path):
    marker = tmp_path / "ran"

    class Hostile:
        def __reduce__(self):
            return os.mkdir, (str(marker),)

    for make in (pickle.dumps, _by_torch):
        content = make({**STATE, "x": Hostile()})
        path = checkpoints.save(tmp_path, 7, STATE)
        path.write_bytes(content + b"\nthawlab sha256 " + hashlib.sha256(content).hexdigest().encode() + b"\n")
        said = []
        assert checkpoints.newest(tmp_path, said.append) is None
        assert "holds more than plain values" in said[0]
        assert not marker.exists()
    torch.load(io.BytesIO(_by_torch({"x": Hostile()})), weights_only=False)
    assert marker.exists(), "the payload is none"


def _by_torch(value):
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", os.path])
def test_what_is_not_plain_is_refused_when_it_is_saved(value, tmp_path):
    with pytest.raises(TypeError, match="keeps plain values"):
        checkpoints.save(tmp_path, 1, {**STATE, "x": [value]})
    assert checkpoints.newest(tmp_path) is None


def test_a_write_that_fails_leaves_the_earlier_ones(tmp_path, monkeypatch):
    checkpoints.save(tmp_path, 1, STATE)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        checkpoints.save(tmp_path, 2, STATE)
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-000000001.ckpt"]
    assert checkpoints.newest(tmp_path) is not None


def test_clearing_takes_everything_away(tmp_path):
    checkpoints.save(tmp_path, 1, STATE)
    (tmp_path / "checkpoints" / ".step-000000002.ckpt.abc").write_bytes(b"half")
    checkpoints.clear(tmp_path)
    assert not (tmp_path / "checkpoints").exists()
    checkpoints.clear(tmp_path)


def test_clearing_leaves_what_is_somebody_elses(tmp_path):
    checkpoints.save(tmp_path / "run", 1, STATE)
    note = tmp_path / "run" / "checkpoints" / "notes.txt"
    note.write_text("mine")
    checkpoints.clear(tmp_path / "run")
    assert [*note.parent.iterdir()] == [note]
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / "checkpoints").symlink_to(checkpoints.save(tmp_path / "other", 1, STATE).parent)
    checkpoints.clear(tmp_path / "link")
    assert checkpoints.exist(tmp_path / "other")
