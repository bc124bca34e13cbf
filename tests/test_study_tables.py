"""The tables of docs/results.md: of a report that is known, and those that stand there, of what is kept."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from bench import study_tables  # noqa: E402 - bench/ is no part of the package
from bench.study_tables import tables  # noqa: E402

NEAR, FAR = ({"target": name, "source": "net", "size": size} for name, size in (("near", 50), ("far", 1200)))
MORE = {**NEAR, "size": 500}


def cell(task, strategy, value, low=None, high=None):
    score = {"value": value, "low": low, "high": high, "n": 3}
    return {"task": task, "strategy": strategy, "score": score, "flops": 2.5e12, "search": [1.0, 7.5e12, 9.0]}


def difference(task, strategy, negative, verdict="worse"):
    points = {"value": -0.1, "low": -0.15, "high": -0.05, "n": 3}
    return {
        "task": task, "strategy": strategy, "points": points, "verdict": verdict, "negative_transfer": negative
    }  # fmt: skip


def crossing(strategy, size, note="", low=None, high=None):
    return {"target": "near", "strategy": strategy, "size": size, "note": note, "low": low, "high": high}


def needed(task, strategy, images, note="", low=None, high=None):
    return {"task": task, "strategy": strategy, "scratch_needs": images, "note": note, "low": low, "high": high}


def paid(task, strategy, saved, targets):
    return {"task": task, "strategy": strategy, "saved_flops": saved, "targets": targets}


REPORT = {
    "cells": [
        cell(FAR, "scratch", 0.5), cell(MORE, "scratch", 0.7), cell(NEAR, "scratch", 0.4, 0.3, 0.5),
        cell(NEAR, "freeze", 0.9, 0.88, 0.92), cell(FAR, "full", 0.4), cell(MORE, "full", 0.6),
    ],
    "cases": [
        {"number": 4, "task": FAR, "recipe": "scratch", "held": "held", "sentence": "Alone."},
        {"number": 1, "task": NEAR, "recipe": "freeze", "held": "held", "sentence": "Ahead."},
    ],
    "differences": [
        difference(NEAR, "freeze", negative=False),
        difference(FAR, "full", negative=True),
        difference(MORE, "full", negative=True, verdict="unclear"),
    ],
    "crossings": [
        crossing("freeze", None, "ahead up to 500"), crossing("full", None, "ahead up to 500"),
        crossing("gradual", 412.4, "between two", 300.0),
    ],
    "effective": [needed(NEAR, "freeze", 1329.1, low=1000.0, high=None), needed(FAR, "full", None, "fewer than 1200")],
    "pays_off": [paid(NEAR, "freeze", 2e10, 280.4), paid(FAR, "full", None, None), paid(MORE, "full", 3e9, None)],
    "sources": [{"source": "net", "flops": 5.55e12, "told_by": "somebody"}],
    "notes": ["Of the rates."],
    "cautions": [],
}  # fmt: skip


def test_a_report_becomes_tables_by_task_and_strategy():
    lines = list(tables(REPORT))
    assert lines[0] == "| test accuracy, % | near, 50 | near, 500 | far, 1,200 |"
    assert lines[2] == "| freeze | 90.0 [88.0, 92.0] | - | - |"
    assert lines[4] == "| scratch | 40.0 [30.0, 50.0] | 70.0 | 50.0 |"
    assert "| 1 near, 50 | freeze | **held**: Ahead. |" in lines
    assert lines[-1] == "Of the rates."


def test_harm_is_said_with_what_limits_it():
    certain, limited = "full on far, 1,200: -10.0 [-15.0, -5.0]", "full on near, 500: -10.0 [-15.0, -5.0]"
    assert f"\nNegative transfer: {certain}; {limited}, not after correction." in list(tables(REPORT))
    assert "\nNegative transfer: none." in list(tables({**REPORT, "differences": []}))


def test_what_transfer_is_worth_and_costs():
    lines = list(tables(REPORT))
    assert (
        "\nWhere scratch catches up: near, freeze, full: ahead up to 500; near, gradual: at 412 images [300, beyond].\n"
        in lines
    )
    scratch_would_need = lines[lines.index("| images that scratch would need | near, 50 | near, 500 | far, 1,200 |") :]
    assert scratch_would_need[2:4] == [
        "| freeze | 1,329 [1,000, beyond] | - | - |",
        "| full | - | - | fewer than 1200 |",
    ]
    assert "| scratch | 2.5 T + 7.5 T | 2.5 T + 7.5 T | 2.5 T + 7.5 T |" in lines
    pay = lines[lines.index("| targets that pay for the source | near, 50 | near, 500 | far, 1,200 |") :]
    assert pay[2:4] == ["| freeze | 280 | - | - |", "| full | - | not known | never |"]
    assert "\nFLOPs that the source cost: net: 5.55 T (somebody)." in lines


def test_what_is_the_same_everywhere_is_said_once():
    needs = [needed(task, "full", None, "more than 1200") for task in (NEAR, MORE, FAR)]
    lines = list(tables({**REPORT, "effective": needs}))
    assert "Images that scratch would need: more than 1200, on every target and size, for every strategy." in lines
    assert not any(line.startswith("| images that scratch would need") for line in lines)


def test_what_is_kept_makes_the_same_tables(tmp_path, monkeypatch, capsys):
    report = {key: [] for key in study_tables.KEPT} | REPORT
    (tmp_path / "report.json").write_text(json.dumps({**report, "mistakes": ["large"]}))
    monkeypatch.setattr(sys, "argv", ["study_tables", str(tmp_path), "--keep", str(tmp_path / "kept.json")])
    study_tables.main()
    kept = json.loads((tmp_path / "kept.json").read_text())
    assert "mistakes" not in kept
    assert capsys.readouterr().out.splitlines() == "\n".join(tables(kept)).splitlines()


STUDIES = sorted((ROOT / "docs" / "data").glob("study-*.json"))


@pytest.mark.parametrize("file", STUDIES, ids=[file.stem for file in STUDIES])
def test_the_tables_in_the_documentation_are_those_of_what_is_kept(file):
    assert "\n".join(tables(json.loads(file.read_text()))) in (ROOT / "docs" / "results.md").read_text()


def test_there_are_studies_to_hold_the_documentation_to():
    assert len(STUDIES) >= 2
