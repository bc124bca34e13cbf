"""Weights and run folders made to run code: none does, and each is named. docs/security.md lists what is kept out."""

import hashlib
import json
import pickle
import shutil
import struct

import hostile
import pytest
import torch
from photos import class_folders
from safetensors.torch import save_file
from small_runs import carried_out

from thawlab import checkpoints, predict
from thawlab.errors import UserError
from thawlab.files import SEAL, write_json
from thawlab.record import Record
from thawlab.report.compare import compare
from thawlab.use import load

START = "backbone=timm backbone.name=test_resnet backbone.size=32 dataset.per_class=2 trainer.batch_size=4 audit=only"


def refused(command, words, *said):
    """What a command said that was refused in one message."""
    ended = command(words)
    assert ended.status == 2, ended
    for one in said:
        assert one in ended.err, ended.err
    return ended.err


@pytest.mark.parametrize("name", hostile.HOSTILE_PICKLES)
def test_weights_run_nothing(name, command, tmp_path):
    path, marker = hostile.hostile_file(name, tmp_path)
    refused(command, f"{START} backbone.weights={path}", path.name, "cannot be read as weights")
    assert not marker.exists()


@pytest.mark.parametrize("name", hostile.HOSTILE_PICKLES)
def test_each_of_these_files_would_fire(name, tmp_path):
    path, marker = hostile.hostile_file(name, tmp_path)
    hostile.load_carelessly(path)
    assert marker.is_dir()


def header(text, size=None, data=bytes(16)):
    """A safetensors file: how long its header is said to be, the header, the tensors."""
    return struct.pack("<Q", len(text) if size is None else size) + text + data


ONE = '"{}":{{"dtype":"F32","shape":[{}],"data_offsets":[0,{}]}}'
SAFETENSORS = {
    "a header of 2^63 bytes": header(b"{}", 2**63),
    "a header longer than the file": header(b"{}", 10**6),
    "a name twice": header(f"{{{ONE.format('a', 4, 16)},{ONE.format('a', 4, 16)}}}".encode()),
    "a name that leads out": header(f"{{{ONE.format('../../marker', 4, 16)}}}".encode()),
    "a name that drives the terminal": header(f"{{{ONE.format(chr(92) + 'u001b[2J', 4, 16)}}}".encode()),
    "a shape of 2^62": header(f"{{{ONE.format('a', 2**62, 16)}}}".encode()),
    "past the end": header(f"{{{ONE.format('a', 4000, 16000)}}}".encode()),
    "nested 100,000 deep": header(b'{"a":' + b"[" * 100_000),
    "no header at all": b"",
}


@pytest.mark.parametrize("content", SAFETENSORS.values(), ids=SAFETENSORS)
def test_hostile_safetensors_are_refused(content, command, tmp_path):
    (tmp_path / "net.safetensors").write_bytes(content)
    said = refused(command, f"{START} backbone.weights=net.safetensors", "net.safetensors")
    assert "\x1b" not in said
    assert {path.name for path in tmp_path.iterdir()} <= {"net.safetensors", ".thawlab", "outputs"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run's folder, and the folder of a few images."""
    folder = tmp_path_factory.mktemp("finished")
    photos = class_folders(folder / "photos")
    left = carried_out(folder / "run", "trainer.epochs=1", "backbone=demo", "strategy=freeze", small=SMALL)
    assert left.record.status == "finished", left.record.reason
    return folder / "run", photos


SMALL = ("dataset.per_class=4", "trainer.batch_size=20", "logger=none", "logger.progress=off", "augment=none")


@pytest.fixture
def sent(finished, tmp_path, monkeypatch):
    """A copy of a finished run, as it might be sent by somebody; beside it a module that makes a marker."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("THAWLAB_TRUST", raising=False)
    shutil.copytree(finished[0], tmp_path / "sent")
    code = f"import os, torch\nos.path.isdir('marker') or os.mkdir({str(tmp_path / 'marker')!r})\n"
    (tmp_path / "evil.py").write_text(f"{code}def build():\n    return torch.nn.Linear(2, 2)\n")
    return tmp_path / "sent"


def change(folder, change):
    path = folder / "result.json"
    record = json.loads(path.read_text())
    change(record)
    record.pop(SEAL)  # a sender can make one that goes with what is sent
    write_json(path, record, sealed=True)


def of_function(reference):
    def write(record):
        record["config"]["backbone"] |= {"function": reference, "name": "mine"}

    return write


def targets_everywhere(record):
    for node in [record["config"], *record["config"].values()]:
        if isinstance(node, dict):
            node["_target_"] = "evil.build"
    record["config"]["hydra"] = {"callbacks": {"x": {"_target_": "evil.build"}}}


def in_backbone(**values):
    return lambda record: record["config"]["backbone"].update(values)


REFUSED = {
    "a function of a file": (of_function("evil.py:build"), "THAWLAB_TRUST"),
    "a function of a module": (of_function("evil:build"), "THAWLAB_TRUST"),
    "a function of the standard library": (of_function("webbrowser:open"), "THAWLAB_TRUST"),
    "a name that begins as a trusted one": (of_function("timm.modelsevil:build"), "THAWLAB_TRUST"),
    "a path through a trusted name": (of_function("timm.models/../evil.py:build"), "THAWLAB_TRUST"),
    "a model of the hub": (in_backbone(name="hf-hub:somebody/evil"), "no such architecture"),
    "a model of a folder": (in_backbone(name="local-dir:/tmp/evil"), "no such architecture"),
    "no config at all": (lambda record: record.update(config={}), "result.json"),
    "a config of lists": (lambda record: record["config"].update(backbone=[1]), "result.json"),
    "classes that are a number": (lambda record: record["data"].update(classes=7), "result.json"),
    "classes that are a text": (lambda record: record["data"].update(classes=[{"a": 1}]), "result.json"),
}


@pytest.mark.parametrize(("write", "said"), REFUSED.values(), ids=REFUSED)
def test_a_record_builds_nothing_that_is_not_trusted(write, said, sent, finished, capsys):
    change(sent, write)
    with pytest.raises(UserError, match=said):
        load(sent)
    assert predict.main([str(sent), str(finished[1])]) == 2
    assert said in capsys.readouterr().err
    assert not (sent.parent / "marker").exists()


@pytest.mark.parametrize("place", ["evil.py", "./", "evil"])
def test_a_function_is_called_where_it_is_trusted(place, sent):
    change(sent, of_function("evil:build" if place == "evil" else "evil.py:build"))
    with pytest.raises(UserError, match="backbone"):  # its network is another
        load(sent, trust=[place])
    assert (sent.parent / "marker").is_dir()


def with_pickled_config(folder):
    evil = hostile.payload(folder.parent / "marker")
    (folder / ".hydra").mkdir(exist_ok=True)
    (folder / ".hydra" / "config.pickle").write_bytes(pickle.dumps(evil))
    (folder / ".hydra" / "job_return.pickle").write_bytes(pickle.dumps(evil))
    (folder / ".hydra" / "config.yaml").write_text("!!python/object/apply:os.mkdir [marker]")


def with_checkpoints(folder):
    for name in ("best.ckpt", "last.ckpt", "model.pt"):
        torch.save(hostile.payload(folder.parent / "marker"), folder / name)


IGNORED = {
    "_target_ in every group": lambda folder: change(folder, targets_everywhere),
    "a pickled .hydra": with_pickled_config,
    "checkpoints beside the weights": with_checkpoints,
    "a conftest and a sitecustomize": lambda folder: [
        (folder / name).write_text((folder.parent / "evil.py").read_text())
        for name in ("conftest.py", "sitecustomize.py", "timm.py", "__init__.py")
    ],
}


@pytest.mark.parametrize("add", IGNORED.values(), ids=IGNORED)
def test_what_a_run_folder_holds_besides_is_not_run(add, sent, finished, capsys):
    add(sent)
    assert predict.main([str(sent), str(finished[1])]) == 0
    assert "Error" not in capsys.readouterr().err
    assert not (sent.parent / "marker").exists()


def test_weights_of_a_sent_run_are_no_pickle(sent, command):
    evil = hostile.payload(sent.parent / "marker")
    torch.save(evil, sent / "model.safetensors")
    with pytest.raises(UserError, match=r"model\.safetensors"):
        load(sent)
    refused(command, f"{START} backbone.weights=sent", "sent")
    assert not (sent.parent / "marker").exists()


def test_a_run_that_starts_from_a_sent_run_reads_its_weights_alone(sent, command):
    change(sent, of_function("evil.py:build"))
    words = "backbone=demo backbone.weights=sent dataset.per_class=2 trainer.batch_size=4 audit=only"
    assert command(words).status == 0
    assert not (sent.parent / "marker").exists()


@pytest.mark.parametrize("text", ["", "{", "[1]", "{" + '"a":' * 100_000, '{"record_version": NaN}', "\0" * 9])
def test_a_record_that_is_none_is_named(text, sent):
    (sent / "result.json").write_text(text)
    with pytest.raises(UserError, match=r"result\.json"):
        load(sent)


def test_a_manifest_is_shown_and_never_run(sent, tmp_path):
    planned = [{"name": "x", "overrides": ["backbone.function=evil.py:build", "hydra/callbacks=evil"]}]
    manifest = {"record_version": 1, "command": ["sh", "-c", "mkdir marker"], "planned": planned}
    (tmp_path / "sweep.json").write_text(json.dumps(manifest))
    assert "x: missing" in compare(tmp_path)
    assert not (tmp_path / "marker").exists()


def test_a_trusted_record_is_still_a_record(sent):
    assert Record.read(sent).status == "finished"
    assert load(sent).classes


def test_metadata_of_weights_is_text(command, tmp_path):
    code = f"__import__('os').mkdir({str(tmp_path / 'marker')!r})"
    state = {name: torch.zeros(1) for name in ("a",)}
    save_file(state, tmp_path / "net.safetensors", metadata=dict.fromkeys(("mean", "std", "size", "crop"), code))
    refused(command, f"{START} backbone.weights=net.safetensors", "net.safetensors")
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("name", hostile.HOSTILE_PICKLES)
def test_a_checkpoint_to_go_on_from_runs_nothing(name, tmp_path):
    """With the checksum that belongs to it, which anyone can compute."""
    path, marker = hostile.hostile_file(name, tmp_path)
    place = tmp_path / "run" / checkpoints.FOLDER
    place.mkdir(parents=True)
    content = path.read_bytes()
    (place / "step-000000001.ckpt").write_bytes(
        content + checkpoints._MARK + hashlib.sha256(content).hexdigest().encode() + b"\n"
    )
    told = []
    assert checkpoints.newest(tmp_path / "run", told.append) is None
    assert "step-000000001.ckpt" in told[0]
    assert "is damaged" not in told[0]
    assert not marker.exists()
