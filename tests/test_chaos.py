"""`make chaos`: each row of its table comes out of what happened, and what is harmed is seen to be harmed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from chaos import flips, outcome, report  # noqa: E402 - chaos/ is no part of the package
from chaos.asked import Asked, Row  # noqa: E402
from chaos.cases import EXTRAS, SCHEDULES, STRATEGIES, WORKERS, cases  # noqa: E402


def python(*words, **options):
    done = subprocess.run(
        [sys.executable, *map(str, words)], cwd=ROOT, capture_output=True, text=True, timeout=500, **options
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_runs_that_are_killed_and_files_that_are_harmed(tmp_path):
    status, said = python(
        *("-m", "chaos", "--only", "kills", "saves", "flips"), *("--count", 1, "--work", tmp_path, "--docs", tmp_path)
    )
    assert status == 0, said
    page = (tmp_path / "reliability.md").read_text()
    assert "1 of 1 bit-identical" in page
    assert page.count("0 unloadable; 1 of 1 then ended bit-identical") == 3
    assert page.count("1 of 1 noticed") >= 11
    assert "not reached" not in page


PLATEAU = """
import sys
from pathlib import Path
from chaos import children, trials
from chaos.cases import Case
from chaos.deaths import AtHook

place = Path(sys.argv[1])
case = Case("plateau", ("backbone=demo", "strategy=full", "schedule=plateau", "cache=off", "checkpoint.steps=3"))
known = trials.reference(case, place / "reference")
for epoch in (0, 1):
    death = AtHook("on_train_epoch_end", epoch)
    assert children.ended(trials.attempt(known.config, place / "trial", death)) == -9
    print("differs:", trials.finished(known, place / "trial", [str(death)]).differs)
"""


@pytest.mark.slow
def test_a_plateau_schedule_counts_the_epoch_that_a_run_goes_on_with(tmp_path):
    status, said = python("-c", PLATEAU, tmp_path)
    assert status == 0, said
    assert [line for line in said.splitlines() if line.startswith("differs")] == ["differs: ()"] * 2


def test_every_strategy_meets_every_schedule_with_every_number_of_workers(tmp_path):
    made = cases(tmp_path, 0)
    assert len({case.name for case in made}) == len(made) == len(STRATEGIES) * len(SCHEDULES) * len(WORKERS)
    for extra in EXTRAS:
        assert sum(f", {extra}, " in case.name for case in made) > 5
    assert 20 < sum(case.name.endswith(", cached") for case in made) < 40
    assert cases(tmp_path, 0) == made
    assert cases(tmp_path, 1) != made


def test_a_single_bit_of_a_state_is_another_digest():
    state = {"step": 3, "state": {0: {"exp_avg": torch.ones(2, 3)}}}
    known = outcome.digest(state)
    assert outcome.digest({"state": {0: {"exp_avg": torch.ones(2, 3)}}, "step": 3}) == known
    others = (torch.ones(3, 2), torch.ones(2, 3, dtype=torch.float64), torch.ones(2, 3).nextafter(torch.tensor(2.0)))
    for other in others:
        assert outcome.digest({"step": 3, "state": {0: {"exp_avg": other}}}) != known
    assert outcome.digest({**state, "step": 4}) != known


def test_what_differs_or_is_missing_is_named():
    assert outcome.differences({"a": 1, "b": b"x"}, {"a": 1, "b": b"x"}) == []
    assert outcome.differences({"a": 1, "c": 3}, {"a": 2, "b": 0, "c": 3}) == ["a", "b"]


def test_a_flip_that_nobody_notices_is_counted(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"\0" * 4)
    asked = Asked(tmp_path, 64, 0, tell=lambda _: None)
    deaf = flips._row(asked, flips.Kind("file", path, lambda: path.read_bytes()[:2] != b"\0\0"))
    missed = len(deaf.faults)
    assert not deaf.reached
    assert 16 < missed < 48
    assert deaf.figure == f"{64 - missed} of 64 noticed"
    assert flips._row(asked, flips.Kind("file", path, lambda: path.read_bytes() != b"\0" * 4)).reached
    assert path.read_bytes() == b"\0" * 4


def test_the_page_keeps_the_other_parts_and_says_what_was_not_reached(tmp_path):
    circumstances = {"date": "2026-01-02", "machine": "a machine", "seconds": 3.0, "count": None}
    report.write(tmp_path, "kills", [Row("Kills", "all", 2, "1 of 2", False, ("x differs",))], circumstances)
    report.write(tmp_path, "flips", [Row("Flips", "all", 1000, "1000", True)], {**circumstances, "count": 7})
    page = (tmp_path / "reliability.md").read_text()
    assert "| Kills | all | 2 | 1 of 2 | **not reached** | 2026-01-02 |" in page
    assert "| Flips | all | 1,000 | 1000 | reached | 2026-01-02 |" in page
    assert "- x differs" in page
    assert "Some parts ran fewer times" in page
    report.write(tmp_path, "kills", [Row("Kills", "all", 2, "2 of 2", True)], circumstances)
    report.write(tmp_path, "flips", [Row("Flips", "all", 1000, "1000", True)], circumstances)
    page = (tmp_path / "reliability.md").read_text()
    assert "not reached" not in page
    assert "fewer" not in page
    assert set(json.loads((tmp_path / "data" / "reliability.json").read_text())) == {"kills", "flips"}
