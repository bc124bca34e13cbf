import csv
import json
import math
import os
import subprocess
import sys
import tempfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thawlab.errors import UserError
from thawlab.record import (
    STATUSES,
    PlannedRun,
    Record,
    add_to_manifest,
    read_curves,
    read_predictions,
    read_sweep,
    write_curves,
    write_predictions,
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
)


@settings(max_examples=50)
@given(records)
def test_a_record_comes_back_as_it_was(record):
    with tempfile.TemporaryDirectory() as folder:
        record.write(folder)
        assert Record.read(folder) == record
        assert os.listdir(folder) == ["result.json"]


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
        ({"record_version": 2}, "record_version 2, but this thawlab reads version 1"),
        ({"record_version": True}, "record_version is True"),
        ({"status": "done"}, "status is 'done', not one of: running, finished"),
        ({"status": ["running"]}, "status is \\['running'\\]"),
        ({"metrics": {"test/accuracy": 0.9}}, "record.metrics.test/accuracy is 0.9"),
        ({"metrics": {"test/accuracy": {"value": 0.9}}}, "record.metrics.test/accuracy lacks 'n'"),
        ({"metrics": {"test/accuracy": {"value": "0.9", "n": 4}}}, "test/accuracy.value is '0.9'"),
        ({"confusion": [[1, 2], [3, 4.5]]}, r"record.confusion\[1\]\[1\] is 4.5"),
        ({"plan": [{"stage": "stem"}]}, r"record.plan\[0\] lacks 'kept'"),
        ({"best_epoch": True}, "record.best_epoch is True"),
        ({"config": None}, "record.config is None"),
        ({"colour": "red"}, "fields that version 1 lacks: colour"),
    ],
)
def test_a_defect_is_named_with_its_file(tmp_path, change, message):
    Record("a", "finished", {}).write(tmp_path)
    path = tmp_path / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=message) as caught:
        Record.read(tmp_path)
    assert str(path) in str(caught.value)


def test_a_missing_field_is_named(tmp_path):
    Record("a", "finished", {}).write(tmp_path)
    path = tmp_path / "result.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k not in ("costs", "audit")}))
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


names = st.text(st.characters(codec="utf-8"), max_size=8)
predictions = st.lists(
    st.fixed_dictionaries({"name": names, "label": names, "predicted": names, "confidence": st.floats(0, 1)}),
    max_size=5,
)


@given(predictions)
def test_predictions_come_back_as_they_were(rows):
    with tempfile.TemporaryDirectory() as folder:
        write_predictions(folder, rows)
        assert read_predictions(folder) == rows


def test_a_file_name_that_is_no_unicode_survives(tmp_path):
    name = os.fsdecode(b"photos/caf\xe9\n1.jpg")
    rows = [{"name": name, "label": "3", "predicted": "a, b", "confidence": 0.25}]
    write_predictions(tmp_path, rows)
    assert read_predictions(tmp_path) == rows
    assert b"caf\xe9" in (tmp_path / "predictions.csv").read_bytes()


curve_rows = st.lists(
    st.dictionaries(
        st.sampled_from(["train/loss", "val/loss", "rate/head", "trains/head"]),
        st.none() | st.floats() | st.integers(-(10**12), 10**12),
    ),
    max_size=4,
)


@given(curve_rows)
def test_curves_come_back_as_they_were(rows):
    rows = [{"epoch": i, "step": 10 * i, **row} for i, row in enumerate(rows)]
    with tempfile.TemporaryDirectory() as folder:
        write_curves(folder, rows)
        found = read_curves(folder)
    columns = {name for row in rows for name in row}
    expected = [{name: row.get(name) for name in columns} for row in rows]
    assert [{k: repr(v) for k, v in row.items()} for row in found] == [
        {k: repr(v) for k, v in row.items()} for row in expected
    ]


def test_curves_put_metrics_before_rates_and_rates_before_what_trains(tmp_path):
    first = {"trains/head": True, "rate/stem": 0.0, "rate/head": 0.1, "step": 5, "train/loss": math.nan, "epoch": 0}
    write_curves(tmp_path, [first, {"epoch": 1, "step": 10, "val/loss": 0.5}])
    with open(tmp_path / "curves.csv", newline="") as file:
        assert list(csv.reader(file)) == [
            ["epoch", "step", "train/loss", "val/loss", "rate/stem", "rate/head", "trains/head"],
            ["0", "5", "nan", "", "0.0", "0.1", "1"],
            ["1", "10", "", "0.5", "", "", ""],
        ]


@pytest.mark.parametrize(
    ("reader", "file", "text", "message"),
    [
        (read_curves, "curves.csv", "step,epoch\n", "begin with"),
        (read_curves, "curves.csv", "epoch,step,loss\n0,1,x\n", "line 2 has 'x' where a number belongs"),
        (read_curves, "curves.csv", "", "is empty"),
        (read_predictions, "predictions.csv", "name,label\n", "its columns are name, label"),
        (read_predictions, "predictions.csv", "name,label,predicted,confidence\na,b\n", "line 2: 2 cells"),
    ],
)
def test_a_broken_table_is_named(tmp_path, reader, file, text, message):
    (tmp_path / file).write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        reader(tmp_path)
    assert file in str(caught.value)


def test_a_sweep_unites_what_was_planned_and_knows_what_is_missing(tmp_path):
    a, b, c = (PlannedRun(name, (f"strategy={name}",)) for name in "abc")
    add_to_manifest(tmp_path, ["train.py", "-m", "first"], [a, b])
    Record("b", "finished", {}).write(tmp_path / "b")
    add_to_manifest(tmp_path, ["train.py", "-m", "second"], [b, c])
    Record("unplanned", "failed", {}, reason="x").write(tmp_path / "unplanned")
    (tmp_path / "c").mkdir()
    sweep = read_sweep(tmp_path)
    assert sweep.command == ("train.py", "-m", "second")
    assert sweep.planned == (a, b, c)
    assert [record.name for record in sweep.records] == ["b", "unplanned"]
    assert sweep.missing == (a, c)
    assert sweep.unreadable == {}


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
