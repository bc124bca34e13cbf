"""The shipped study, small: the command of the README in a process of its own, down to the report."""

import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean

import pytest

ROOT = Path(__file__).parents[1]
FEWER = (
    "study.sizes=[3,6]",
    "study.strategies=[freeze,scratch]",
    "study.rates=[0.002,0.008]",
    "study.seeds=[0,1]",
    "study.epochs=[2,2]",
    "sweep=cases",
)


@pytest.mark.slow
def test_the_study_ends_with_a_report_of_what_its_records_say(tmp_path):
    words = [sys.executable, str(ROOT / "train.py"), "experiment=four_cases", *FEWER]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    folder = tmp_path / "outputs" / "cases"
    assert "outputs/cases/report.html" in done.stdout.splitlines()[-1]
    assert (folder / "report.html").read_text().startswith("<!DOCTYPE html>")
    report = json.loads((folder / "report.json").read_text())
    scores = defaultdict(list)
    for path in folder.glob("*/result.json"):
        record = json.loads(path.read_text())
        key = (record["config"]["dataset"]["name"], record["data"]["train"], record["config"]["strategy"]["name"])
        scores[*key, record["config"]["optimizer"]["lr"]].append(record["metrics"]["test/accuracy"]["value"])
    assert len(report["cells"]) == 2 * 2 * 2, "targets, sizes, strategies"
    for cell in report["cells"]:
        key = (cell["task"]["target"], cell["task"]["size"], cell["strategy"], cell["rate"])
        assert cell["score"]["n"] == len(scores[key]) == 2
        assert cell["score"]["value"] == pytest.approx(mean(scores[key]), abs=1e-12)
    assert [case["number"] for case in report["cases"]] == [1, 2, 3, 4]
