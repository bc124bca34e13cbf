import json
import re
import signal
import sys
import tempfile
from pathlib import Path

import pytest
from small_runs import SMALL, carried_out, config_of, from_weights

from thawlab import batch_finder, prepare
from thawlab.batch_finder import Found, Limits, find
from thawlab.errors import UserError

# A child that speaks as batch_trial does and needs 10 bytes an image; what it does above 32 images is planted.
CHILD = """
import json, os, signal, sys
def die(*_): os.kill(os.getpid(), signal.{name})
start = json.loads(sys.stdin.readline())
open({notes!r}, "a").write(json.dumps({{"pid": os.getpid(), "start": start}}) + chr(10))
print(json.dumps({{"budget": {budget}, "predict": {predict}}}), flush=True)
for line in sys.stdin:
    size = json.loads(line)["size"]
    if size > 32: {plant}
    print(json.dumps({{"peak": 10 * size, "images": size}}), flush=True)
"""


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """Put another child in the place of batch_trial's; gives what each such child was told."""
    notes = tmp_path / "notes"
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()

    def plant(what="pass", name="SIGKILL", budget=10**9, predict=False):
        code = CHILD.format(plant=what, name=name, budget=budget, predict=predict, notes=str(notes))
        monkeypatch.setattr(batch_finder, "_CHILD", (sys.executable, "-S", "-c", code))

    yield plant
    for line in notes.read_text().splitlines() if notes.exists() else ():
        assert not Path("/proc", str(json.loads(line)["pid"])).exists(), "a child lives on"
    assert not list((tmp_path / "temporary").iterdir()), "a file was left behind"


def config(**trainer):
    return {"trainer": {"devices": 1, "nodes": 1, "accumulate": 1, "batch_size": "auto", **trainer}}


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSEGV"])
@pytest.mark.parametrize("predict", [False, True])
def test_a_child_that_dies_costs_a_size(planted, name, predict):
    planted("die()", name, predict=predict)
    tried = []
    found = find(config(), 5000, Limits(), lambda attempt: tried.append(str(attempt)))
    assert found.size == 32
    number = getattr(signal, name).value
    assert found.reason.startswith(f"all that memory allows (64 images: its process was ended by signal {number} (")
    assert tried[-1].startswith("32 images" if predict else "64 images")


@pytest.mark.parametrize(
    ("plant", "says"),
    [
        pytest.param("sys.exit(78)", "64 images: it took more than 0.93 GiB", id="over the budget"),
        pytest.param("sys.exit('no luck')", "64 images: its process ended with status 1: no luck", id="status"),
        pytest.param("print(json.dumps({'why': 'memory ran out'}), flush=True); continue", "64 images: memory ran out",
                     id="said so"),
        pytest.param("print('half an ans', end='', flush=True); die()", "64 images: its process was ended by signal 9",
                     id="in the middle of an answer"),
    ],
)  # fmt: skip
def test_what_bounds_the_size_is_said(planted, plant, says):
    planted(plant)
    found = find(config(), 5000, Limits())
    assert found.size == 32
    assert says in found.line


@pytest.mark.parametrize(
    ("images", "limits", "expected"),
    [
        pytest.param(320, Limits(), "batch size 256: all that the 320 training images allow", id="images"),
        pytest.param(5000, Limits(), "batch size 1,024: no more than 1,024 are taken", id="the default's most"),
        pytest.param(5000, Limits(most=100), "batch size 64: no more than 100 are taken", id="an asked-for most"),
        pytest.param(90, Limits(most=100), "batch size 64: all that the 90 training images allow", id="both"),
    ],
)
def test_what_else_bounds_it(planted, images, limits, expected):
    planted()
    assert find(config(), images, limits).line == expected


def test_memory_is_foreseen_on_a_line(planted):
    planted(budget=2000, predict=True)
    tried = []
    found = find(config(), 5000, Limits(), lambda attempt: tried.append(attempt.size))
    assert (found.size, tried) == (128, [4, 16, 128])
    assert "256 images: it would take about" in found.reason


def test_sizes_share_out_over_devices_and_accumulated_batches(planted):
    planted("die()")
    assert find(config(devices=3, accumulate=2), 5000, Limits()).size == 24


def test_the_child_is_told_what_to_try(planted, tmp_path):
    planted()
    find(config(devices=2), 50, Limits(share=0.5, available=7))
    (line,) = (tmp_path / "notes").read_text().splitlines()
    start = json.loads(line)["start"]
    assert (start["share"], start["available"]) == (0.5, 7)
    assert start["config"]["trainer"] == config(devices=2, batch_size=2)["trainer"]


@pytest.mark.parametrize(
    ("plant", "says"),
    [
        pytest.param({"what": "print(json.dumps({'error': 'ValueError: odd'}), flush=True); continue"},
                     r"a step of 64 images fails: ValueError: odd\. Give a number", id="another error"),
        pytest.param({"budget": None}, "does not tell how much memory is free.*--memory", id="unknown memory"),
        pytest.param({"budget": "die()"}, r"trying sizes failed: its process was ended by signal 9", id="dies at once"),
    ],
)  # fmt: skip
def test_what_is_no_matter_of_memory_is_refused(planted, plant, says):
    planted(**plant)
    with pytest.raises(UserError, match=says):
        find(config(), 5000, Limits())


def test_a_step_that_never_fits_is_refused(planted, monkeypatch):
    planted("pass")
    code = batch_finder._CHILD[-1].replace("if size > 32: pass", "die()")
    monkeypatch.setattr(batch_finder, "_CHILD", (*batch_finder._CHILD[:-1], code))
    with pytest.raises(UserError, match=r"not even 1 images: its process was ended by signal 9.*smaller network"):
        find(config(), 5000, Limits())


def test_fewer_images_than_share_a_step_are_refused(planted):
    planted()
    with pytest.raises(UserError, match="8 devices x nodes x accumulated batches share a step of at most 7 images"):
        find(config(devices=4, accumulate=2), 7, Limits())


@pytest.mark.parametrize(
    ("values", "says"),
    [({"share": 0.0}, "--memory-share is 0.0"), ({"most": 0}, "--max is 0"), ({"available": -1}, "--memory is")],
)
def test_limits_that_mean_nothing_are_refused(values, says):
    with pytest.raises(UserError, match=says):
        Limits(**values)


@pytest.fixture
def counted(monkeypatch):
    """Nothing is tried; every search finds 24, and is counted."""
    searches = []

    def pretended(config, images, limits, tell=None):
        searches.append(images)
        return Found(24, "planted")

    monkeypatch.setattr(batch_finder, "find", pretended)
    monkeypatch.setattr(batch_finder, "_known", {})
    return searches


def test_a_sweep_tries_once_what_needs_the_same_memory(tmp_path, counted):
    words = [*from_weights(tmp_path, "demo"), "trainer.batch_size=auto"]
    same = [config_of(*words, f"seed={seed}", f"optimizer.lr={lr}", "schedule=constant")
            for seed in range(2) for lr in (0.1, 0.01)]  # fmt: skip
    prepare.check_all(same)
    for job in same:
        assert prepare.prepare(job).specs.trainer.batch_size == 24
    assert counted == [40]
    prepare.prepare(config_of(*words, "strategy=full"))
    assert counted == [40, 40]


def test_a_run_with_an_automatic_size_records_it_and_keeps_its_config(tmp_path, counted, capsys):
    words = [*from_weights(tmp_path, "demo"), "strategy=freeze", "trainer.batch_size=auto"]
    left = carried_out(tmp_path / "run", *words)
    assert left.record.status == "finished", left.record.reason
    assert left.record.data["batch_size"] == 24
    assert "batch size 24: planted" in left.record.data["notes"]
    assert left.record.config["trainer"]["batch_size"] == "auto"
    assert [row["step"] for row in left.curves] == [2, 4]  # 40 images, at most 24 a step
    assert "batch size 24: planted" in capsys.readouterr().out


def test_processes_started_elsewhere_do_not_all_try_at_once(tmp_path, counted, monkeypatch):
    job = config_of(*from_weights(tmp_path, "demo"), "trainer.batch_size=auto", "trainer.devices=2")
    assert prepare.prepare(job).specs.trainer.batch_size == 24
    monkeypatch.setattr(batch_finder, "_known", {})
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(UserError, match=r"a launcher started several processes.*find_batch\.py"):
        prepare.prepare(job)


@pytest.mark.slow
def test_several_processes_train_at_the_size_that_one_found(tmp_path, counted):
    words = [*from_weights(tmp_path, "demo"), "strategy=freeze", "trainer.batch_size=auto", "trainer.devices=2"]
    batch_finder.remember({batch_finder._key(config_of(*words), 40): Found(20, "planted")})
    left = carried_out(tmp_path / "run", *words)
    assert left.record.status == "finished", left.record.reason
    assert left.record.data["batch_size"] == 20
    assert [row["step"] for row in left.curves] == [2, 4]


# The real child, with a network that is planted to need 12 MB an image, or to kill its process.
NETWORK = """
import ctypes, os, signal
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.fc, self.held = nn.Conv2d(3, 4, 3), nn.Linear(4, 10), None

    def forward(self, x):
        n = len(x)
        {plant}
        return self.fc(self.body(x).mean((2, 3)))

def build():
    return Net()
"""
HOLD = "self.held = None; self.held = torch.ones(n, 3_000_000)"
FREE = 1_700_000_000  # bytes: 80 % of them hold 64 planted images and all else, and never 128


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plant", "expected", "says"),
    [
        pytest.param(HOLD, 64, "128 images: it would take about", id="memory, foreseen"),
        pytest.param(f"if n > 16: {HOLD}", 64, "128 images: it took more than", id="memory, not foreseen"),
        pytest.param("if n > 40: os.kill(os.getpid(), signal.SIGKILL)", 32, r"64 images: .* signal 9", id="killed"),
        pytest.param("if n > 40: ctypes.string_at(0)", 32, r"64 images: .* signal 11", id="segmentation fault"),
        pytest.param("if n > 40: raise MemoryError", 32, "64 images: memory ran out", id="MemoryError"),
    ],
)
def test_the_real_child(tmp_path, monkeypatch, plant, expected, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NETWORK.format(plant=plant))
    files = sorted(tmp_path.rglob("*"))
    words = [
        "backbone=function",
        "backbone.name=net",
        f"backbone.function={tmp_path / 'net.py'}:build",
        "backbone.mean=[0.5,0.5,0.5]",
        "backbone.std=[0.5,0.5,0.5]",
        "strategy=scratch",
        "dataset=digits",
        "dataset.per_class=null",
    ]
    small = tuple(word for word in SMALL if "backbone=" not in word and "per_class" not in word)
    most = 64 if expected == 32 else 128
    found = find(config_of(*words, small=small), 1105, Limits(available=FREE, most=most))
    assert found.size == expected, found
    assert re.search(says, found.reason), found.reason
    assert [path for path in sorted(tmp_path.rglob("*")) if "__pycache__" not in str(path)] == files
