import hashlib
import json
import math
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_runs import flip

from thawlab.errors import UserError
from thawlab.files import write_json
from thawlab.record import (
    STATUSES,
    PlannedRun,
    Record,
    add_to_manifest,
    is_finished,
    read_sweep,
)

texts = st.text(max_size=12)
numbers = st.none() | st.floats(allow_nan=False, allow_infinity=False)
counts = st.integers(0, 10**9)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(texts, values, max_size=4)
plan_rows = st.fixed_dictionaries(
    {"stage": texts, "kept": st.booleans(), "weights": texts, "first_epoch": st.none() | counts}
    | {"rate": numbers, "parameters": counts, "share": numbers, "norm": texts}
)
records = st.builds(
    Record,
    name=texts,
    status=st.sampled_from(STATUSES),
    config=objects,
    reason=st.none() | texts,
    plan=st.lists(plan_rows, max_size=3),
    data=objects,
    metrics=st.dictionaries(texts, st.fixed_dictionaries({"value": numbers, "n": counts}), max_size=3),
    per_class=st.dictionaries(texts, st.fixed_dictionaries({"accuracy": numbers, "n": counts}), max_size=3),
    confusion=st.lists(st.lists(counts, max_size=3), max_size=3),
    best_epoch=st.none() | counts,
    costs=objects,
    audit=objects,
    versions=st.dictionaries(texts, texts, max_size=3),
    started=st.none() | texts,
    ended=st.none() | texts,
    files=st.dictionaries(texts, st.fixed_dictionaries({"sha256": texts, "bytes": counts}), max_size=3),
    advice=objects,
)


@settings(max_examples=50)
@given(records)
def test_a_record_comes_back_as_it_was(record):
    with tempfile.TemporaryDirectory() as folder:
        record.write(folder)
        assert Record.read(folder) == record
        assert os.listdir(folder) == ["result.json"]


def rewritten(path, change, without=()):
    """Change a sealed file as who means to: with its seal renewed."""
    content = {k: v for k, v in json.loads(path.read_text()).items() if k not in ("sha256", *without)}
    write_json(path, content | change, sealed=True)


@settings(max_examples=25, deadline=None)
@given(records, st.data())
def test_a_flipped_bit_of_a_record_is_noticed(record, data):
    with tempfile.TemporaryDirectory() as folder:
        record.write(folder)
        path = Path(folder) / "result.json"
        bit = data.draw(st.integers(0, 8 * path.stat().st_size - 1))
        flip(path, bit)
        with pytest.raises(UserError, match=r"result\.json"):
            Record.read(folder)
        flip(path, bit)
        assert Record.read(folder) == record


def test_bits_all_over_a_record_and_a_manifest_count(tmp_path):
    Record("a", "finished", {"lr": 1e-05, "é": "é"}, metrics={"m": {"value": 0.5, "n": 3}}).write(tmp_path / "a")
    add_to_manifest(tmp_path, ["train.py", "-m"], [PlannedRun("a", ("lr=1e-05",))])
    for path in (tmp_path / "a" / "result.json", tmp_path / "sweep.json"):
        for bit in range(0, 8 * path.stat().st_size, 7):
            flip(path, bit)
            with pytest.raises(UserError, match=path.name):
                Record.read(path.parent) if path.name == "result.json" else read_sweep(tmp_path)
            flip(path, bit)
    assert read_sweep(tmp_path).unreadable == {}


def test_a_record_changed_by_hand_is_refused(tmp_path):
    Record("a", "finished", {}, metrics={"test/accuracy": {"value": 0.5, "n": 4}}).write(tmp_path)
    path = tmp_path / "result.json"
    path.write_text(path.read_text().replace("0.5", "0.9"))
    with pytest.raises(UserError, match="was changed after it was written") as caught:
        Record.read(tmp_path)
    assert str(path) in str(caught.value)
    assert not is_finished(tmp_path)


def test_the_seal_is_the_sha256_of_the_file_without_it(tmp_path):
    Record("a", "finished", {"b": [1, None]}).write(tmp_path)
    text = (tmp_path / "result.json").read_text()
    *rest, seal, end = text.splitlines()
    rest[-1] = rest[-1].removesuffix(",")
    bare = "\n".join([*rest, end]) + "\n"
    assert seal == f' "sha256": "{hashlib.sha256(bare.encode()).hexdigest()}"'


def test_a_record_of_version_1_had_no_seal_and_named_no_files(tmp_path):
    record = Record("a", "finished", {"seed": 1}, files={"curves.csv": {"sha256": "0", "bytes": 1}})
    record.write(tmp_path)
    path = tmp_path / "result.json"
    content = json.loads(path.read_text()) | {"record_version": 1}
    del content["sha256"], content["files"], content["advice"]
    path.write_text(json.dumps(content))
    assert Record.read(tmp_path) == replace(record, files={})
    (tmp_path / "sweep.json").write_text(json.dumps({"record_version": 1, "command": ["x"], "planned": []}))
    assert read_sweep(tmp_path).commands == (("x",),)


def test_a_record_of_version_2_was_sealed_and_had_no_advice(tmp_path):
    record = Record("a", "finished", {"seed": 1}, files={"curves.csv": {"sha256": "0", "bytes": 1}})
    record.write(tmp_path)
    path = tmp_path / "result.json"
    rewritten(path, {"record_version": 2}, without=["advice"])
    assert Record.read(tmp_path) == record
    path.write_text(path.read_text().replace('"seed": 1', '"seed": 2'))
    with pytest.raises(UserError, match="was changed after it was written"):
        Record.read(tmp_path)


@pytest.mark.parametrize("field", ["files", "advice"])
def test_a_field_that_a_version_has_may_not_be_missing_from_it(tmp_path, field):
    Record("a", "finished", {}).write(tmp_path)
    rewritten(tmp_path / "result.json", {"record_version": 3 if field == "advice" else 2}, without=[field])
    with pytest.raises(UserError, match=f"it lacks {field}"):
        Record.read(tmp_path)


def test_a_record_of_this_version_without_its_seal_is_refused(tmp_path):
    Record("a", "finished", {}).write(tmp_path)
    path = tmp_path / "result.json"
    content = json.loads(path.read_text())
    del content["sha256"]
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="it lacks sha256"):
        Record.read(tmp_path)


def test_a_value_that_is_no_number_is_null_and_comes_back_as_none(tmp_path):
    record = Record("a", "finished", {}, metrics={"test/loss": {"value": math.nan, "n": 3}})
    record.write(tmp_path)
    assert "NaN" not in (tmp_path / "result.json").read_text()
    assert Record.read(tmp_path).metrics == {"test/loss": {"value": None, "n": 3}}


def test_a_running_record_needs_nothing_but_its_config(tmp_path):
    record = Record("a", "running", {"seed": 1}, started="2026-01-02T03:04:05+00:00")
    record.write(tmp_path / "a")
    assert Record.read(tmp_path / "a") == record


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"record_version": 4}, "record_version 4, but this thawlab reads versions 1 to 3"),
        ({"record_version": True}, "record_version True, but this"),
        ({"status": "done"}, "status is 'done', not one of: running, finished"),
        ({"status": ["running"]}, "status is \\['running'\\]"),
        ({"metrics": {"test/accuracy": 0.9}}, "record.metrics.test/accuracy is 0.9"),
        ({"metrics": {"test/accuracy": {"value": 0.9}}}, "record.metrics.test/accuracy lacks 'n'"),
        ({"metrics": {"test/accuracy": {"value": "0.9", "n": 4}}}, "test/accuracy.value is '0.9'"),
        ({"confusion": [[1, 2], [3, 4.5]]}, r"record.confusion\[1\]\[1\] is 4.5"),
        ({"plan": [{"stage": "stem"}]}, r"record.plan\[0\] lacks 'kept'"),
        ({"best_epoch": True}, "record.best_epoch is True"),
        ({"config": None}, "record.config is None"),
        ({"colour": "red"}, "fields that version 3 lacks: colour"),
    ],
)
def test_a_defect_is_named_with_its_file(tmp_path, change, message):
    Record("a", "finished", {}).write(tmp_path)
    path = tmp_path / "result.json"
    rewritten(path, change)
    with pytest.raises(UserError, match=message) as caught:
        Record.read(tmp_path)
    assert str(path) in str(caught.value)


def test_a_missing_field_is_named(tmp_path):
    Record("a", "finished", {}).write(tmp_path)
    path = tmp_path / "result.json"
    rewritten(path, {}, without=("costs", "audit"))
    with pytest.raises(UserError, match="it lacks costs, audit"):
        Record.read(tmp_path)


@given(st.binary(max_size=40))
def test_garbage_is_a_user_error(garbage):
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "result.json"), "wb") as file:
            file.write(garbage)
        with pytest.raises(UserError, match=r"result\.json"):
            Record.read(folder)


def test_a_folder_without_a_record_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match=r"result\.json cannot be read"):
        Record.read(tmp_path)


def test_a_sweep_unites_what_was_planned_and_knows_what_is_missing(tmp_path):
    a, b, c = (PlannedRun(name, (f"strategy={name}",)) for name in "abc")
    add_to_manifest(tmp_path, ["train.py", "-m", "first"], [a, b])
    Record("b", "finished", {}).write(tmp_path / "b")
    add_to_manifest(tmp_path, ["train.py", "-m", "second"], [b, c])
    Record("unplanned", "failed", {}, reason="x").write(tmp_path / "unplanned")
    (tmp_path / "c").mkdir()
    sweep = read_sweep(tmp_path)
    assert sweep.commands == (("train.py", "-m", "first"), ("train.py", "-m", "second"))
    assert sweep.planned == (a, b, c)
    assert [record.name for record in sweep.records] == ["b", "unplanned"]
    assert sweep.missing == (a, c)
    assert sweep.unreadable == {}


def test_a_command_that_is_given_again_is_known_once(tmp_path):
    for word in ("first", "second", "first"):
        add_to_manifest(tmp_path, ["train.py", word], [])
    assert read_sweep(tmp_path).commands == (("train.py", "second"), ("train.py", "first"))


def test_a_manifest_of_version_3_knew_the_latest_command_alone(tmp_path):
    add_to_manifest(tmp_path, ["train.py", "first"], [])
    rewritten(tmp_path / "sweep.json", {"record_version": 3}, without=["earlier"])
    assert read_sweep(tmp_path).commands == (("train.py", "first"),)


def test_one_broken_record_does_not_hide_the_others(tmp_path):
    Record("a", "finished", {}).write(tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "result.json").write_text("{")
    sweep = read_sweep(tmp_path)
    assert [record.name for record in sweep.records] == ["a"]
    assert "result.json cannot be read" in sweep.unreadable["b"]


def test_a_folder_that_is_no_sweep_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match="is no folder"):
        read_sweep(tmp_path / "absent")
    with pytest.raises(UserError, match=r"is no sweep: it holds no sweep\.json"):
        read_sweep(tmp_path)
    Record("run", "finished", {}).write(tmp_path / "run")
    with pytest.raises(UserError, match="which this run belongs to"):
        read_sweep(tmp_path / "run")
    manifest = {"record_version": 1, "command": [], "planned": [{"name": 3, "overrides": []}]}
    (tmp_path / "sweep.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=r"sweep\.json .*planned\[0\]\.name is 3"):
        read_sweep(tmp_path)


def test_records_and_reports_need_no_torch():
    code = "import sys, thawlab.report.compare; print({'torch', 'pytorch_lightning'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
