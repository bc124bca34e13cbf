"""The tables of docs/results.md, from a report that is known."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from bench.study_tables import tables  # noqa: E402 - bench/ is no part of the package

NEAR, FAR = ({"target": name, "source": "net", "size": size} for name, size in (("near", 50), ("far", 1200)))


def cell(task, strategy, value, low=None, high=None):
    return {"task": task, "strategy": strategy, "score": {"value": value, "low": low, "high": high, "n": 3}}


def difference(task, strategy, negative):
    points = {"value": -0.1, "low": -0.15, "high": -0.05, "n": 3}
    return {"task": task, "strategy": strategy, "points": points, "negative_transfer": negative}


REPORT = {
    "cells": [cell(FAR, "scratch", 0.5), cell(NEAR, "scratch", 0.4, 0.3, 0.5), cell(NEAR, "freeze", 0.9, 0.88, 0.92)],
    "cases": [
        {"number": 4, "task": FAR, "recipe": "scratch", "held": "held", "sentence": "Alone."},
        {"number": 1, "task": NEAR, "recipe": "freeze", "held": "held", "sentence": "Ahead."},
    ],
    "differences": [difference(NEAR, "freeze", negative=False), difference(FAR, "full", negative=True)],
    "notes": ["Of the rates."],
    "cautions": [],
}


def test_a_report_becomes_tables_by_case_and_strategy():
    lines = list(tables(REPORT))
    assert lines[0] == "| strategy | near, 50 images | far, 1,200 images |"
    assert lines[2] == "| freeze | 90.0 [88.0, 92.0] | - |"
    assert lines[3] == "| scratch | 40.0 [30.0, 50.0] | 50.0 |"
    assert "| 1 near, 50 images | freeze | **held**: Ahead. |" in lines
    assert "\nNegative transfer: full on far, 1,200 images: -10.0 [-15.0, -5.0]." in lines
    assert lines[-1] == "Of the rates."


def test_no_harm_is_said():
    assert "\nNegative transfer: none." in list(tables({**REPORT, "differences": []}))
