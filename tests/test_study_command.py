"""A study from end to end. What its runs come to is planted where nothing hangs on training."""

import json
import sys
import types

import pytest
from planted_runs import Planted

from thawlab.record import Record, read_sweep
from thawlab.stopping import Stopped
from thawlab.study_record import StudyRecord

TWO = (
    "experiment=four_cases study.similar=[dataset=digits] study.different=[] study.sizes=[4] "
    "study.strategies=[freeze,full] study.rates=[0.001,0.01] study.seeds=[0,1] trainer.epochs=2 launch.jobs=1 "
    "logger.progress=off sweep=s"
)
HIGH, LOW = 0.01, 0.001


@pytest.fixture
def report(monkeypatch):
    """A stand-in for the report: leaves a page."""
    module = types.ModuleType("thawlab.report.report")

    def write_report(folder):
        (folder / "report.html").write_text("a page")
        return folder / "report.html"

    module.write_report = write_report
    monkeypatch.setitem(sys.modules, module.__name__, module)


@pytest.fixture
def planted(monkeypatch, report):
    """`planted(ends)`: what each run comes to."""

    def plant(ends):
        runs = Planted(ends)
        monkeypatch.setattr("thawlab.run.run", runs.run)
        return runs

    return plant


def by_rate(strategy, rate, seed):
    """Validation images prefer the low rate, test images the high one."""
    return (0.8, 0.1) if rate == LOW else (0.7, 0.9)


SEARCH = [("freeze", LOW, 0), ("freeze", HIGH, 0), ("full", LOW, 0), ("full", HIGH, 0)]


def test_each_rate_is_tried_and_the_one_that_validation_chooses_is_run_with_every_seed_and_nothing_twice(
    command, planted, tmp_path
):
    runs = planted(by_rate)
    ended = command(TWO)
    assert ended.status == 0, ended
    assert runs.done == [*SEARCH, ("freeze", LOW, 1), ("full", LOW, 1)]
    assert ended.out.splitlines()[-1] == "Report: outputs/s/report.html"
    assert "digits, 4 per class, freeze: rate 0.001, the lowest that was tried (0.001: 80.0%; 0.01: 70.0%)" in ended.out

    folder = tmp_path / "outputs" / "s"
    study = StudyRecord.read(folder)
    assert study.kind == "four_cases"
    assert study.targets == {"digits": "similar"}
    assert [size["label"] for size in study.sizes] == ["small"]
    assert [one["name"] for one in study.strategies] == ["freeze", "full"]
    assert (study.rates, study.search_seeds, study.seeds) == ([LOW, HIGH], [0], [0, 1])
    assert study.command[1] == "experiment=four_cases"
    assert study.source["told_by"] == "thawlab's demo.json"
    assert [one["rate"] for one in study.chosen] == [LOW, LOW]
    sweep = read_sweep(folder)
    assert len(sweep.planned) == len(sweep.records) == 6
    assert not sweep.missing

    again = command(TWO)
    assert again.status == 0
    assert len(runs.done) == 6, "the same command does nothing again"


def test_a_second_launch_into_the_folder_adds_a_size(command, planted, tmp_path):
    planted(by_rate)
    assert command(TWO).status == 0
    larger = TWO.replace("study.sizes=[4]", "study.sizes=[8]")
    assert larger != TWO
    assert command(larger).status == 0
    folder = tmp_path / "outputs" / "s"
    study = StudyRecord.read(folder)
    assert [(one["per_class"], one["label"]) for one in study.sizes] == [(4, "small"), (8, "large")]
    assert len(study.chosen) == 4
    assert len(read_sweep(folder).commands) == 2
    before = study
    refused = command(larger.replace("study.sizes=[8]", "study.sizes=[0.5]"))
    assert refused.status == 2
    assert "sweep=s cannot take this study: its sizes are shares" in refused.err
    assert StudyRecord.read(folder) == before


def test_a_second_launch_with_another_rate_chooses_among_all_that_were_tried(command, planted, tmp_path):
    runs = planted(by_rate)
    assert command(TWO).status == 0
    done = len(runs.done)
    more = TWO.replace("study.rates=[0.001,0.01]", "study.rates=[0.1]").replace("study.sizes=[4]", "study.sizes=[4,8]")
    ended = command(more)
    assert ended.status == 0, ended
    study = StudyRecord.read(tmp_path / "outputs" / "s")
    chosen = {(one["per_class"], one["searched"]): one for one in study.chosen}
    assert [chosen[4, name]["rate"] for name in ("freeze", "full")] == [LOW, LOW]
    assert chosen[4, "full"]["scores"] == [[LOW, 0.8], [HIGH, 0.7], [0.1, 0.7]]
    assert "full: rate 0.001, the lowest that was tried (0.001: 80.0%; 0.01: 70.0%; 0.1: 70.0%)" in ended.out
    assert (chosen[8, "full"]["rate"], chosen[8, "full"]["scores"]) == (0.1, [[0.1, 0.7]])
    # A search of two strategies at two sizes, then the new size's other seed: the first size is measured already.
    assert runs.done[done:] == [*[("freeze", 0.1, 0), ("full", 0.1, 0)] * 2, ("freeze", 0.1, 1), ("full", 0.1, 1)]


def test_a_rate_that_failed_in_an_earlier_launch_is_still_told(command, planted, tmp_path):
    planted(lambda strategy, rate, seed: None if rate == HIGH else (0.8, 0.8))
    assert command(TWO).status == 1
    assert command(TWO.replace("study.rates=[0.001,0.01]", "study.rates=[0.1]")).status == 0
    study = StudyRecord.read(tmp_path / "outputs" / "s")
    assert [(one["rate"], one["failed"]) for one in study.chosen] == [(LOW, [HIGH]), (LOW, [HIGH])]


def test_a_run_of_a_study_is_the_run_that_its_words_make_alone(command, planted, tmp_path):
    runs = planted(by_rate)
    assert command(TWO).status == 0
    sweep = read_sweep(tmp_path / "outputs" / "s")
    words = " ".join(f"'{word}'" for word in sweep.planned[-1].overrides)
    alone = command(f"{words} sweep=s")
    assert alone.status == 0, alone
    assert "finished already" in alone.out
    assert len(runs.done) == 6
    assert all(record.config["study"]["kind"] == "none" for record in sweep.records)


def test_after_a_kill_between_the_phases_the_same_command_does_what_is_missing(command, planted, tmp_path):
    stop = Stopped("interrupted", "asked to end (SIGTERM)", 143)
    runs = planted(lambda strategy, rate, seed: stop if seed == 1 else by_rate(strategy, rate, seed))
    ended = command(TWO)
    assert ended.status == 143
    assert runs.done == SEARCH
    assert "Report:" not in ended.out
    assert len(StudyRecord.read(tmp_path / "outputs" / "s").chosen) == 2

    runs = planted(by_rate)
    assert command(TWO).status == 0
    assert runs.done == [("freeze", LOW, 1), ("full", LOW, 1)]


def test_a_rate_with_a_run_that_failed_is_out_and_a_strategy_without_any_is_left_out(command, planted, tmp_path):
    def ends(strategy, rate, seed):
        return None if strategy == "freeze" or rate == LOW else (0.1, 0.1)

    runs = planted(ends)
    ended = command(TWO)
    assert ended.status == 1
    assert runs.done == [*SEARCH, ("full", HIGH, 1)]
    assert "digits, 4 per class, full: rate 0.01, the highest that was tried (0.01: 10.0%;" in ended.out
    assert "Left out, since no rate finished: digits, 4 per class, freeze" in ended.out
    assert "3 of 5 runs did not finish" in ended.out
    assert ended.out.splitlines()[-1] == "Report: outputs/s/report.html", "of what there is"
    freeze, full = StudyRecord.read(tmp_path / "outputs" / "s").chosen
    assert (freeze["rate"], freeze["failed"]) == (None, [LOW, HIGH])
    assert (full["rate"], full["failed"], full["scores"]) == (HIGH, [LOW], [[HIGH, 0.1]])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("-m", "Leave -m out"),
        ("optimizer.lr=1", "Say study.rates="),
        ("study.sizes=[few]", "study.sizes"),
        ("study.similar=[dataset=digit]", "there is no such dataset"),
        ("'study.strategies=[full,full strategy.layer_decay=1]'", "both called 'full'"),
        ("'study.different=[dataset=digits,dataset.val_share=0.3]'", "two targets of this study are called 'digits'"),
        ("study.sizes=[4,4000]", "4000"),
        ("'study.strategies=[freeze,\"\"]'", "study.strategies has an empty entry"),
        ("study.strategies=[freeze,auto]", "study.strategies has auto, which chooses its rate itself"),
    ],
)
def test_what_cannot_work_is_refused_with_one_message_before_anything_is_trained(
    command, planted, words, said, tmp_path
):
    runs = planted(by_rate)
    ended = command(f"{TWO} {words}")
    assert ended.status == 2, ended
    assert said in ended.err
    assert ended.err.count("\n") == 1
    assert runs.done == []
    assert not list((tmp_path / "outputs").rglob("*.json"))


def test_a_study_is_started_once_and_not_by_a_launcher(command, planted, monkeypatch):
    planted(by_rate)
    monkeypatch.setenv("LOCAL_RANK", "0")
    ended = command(TWO)
    assert ended.status == 2
    assert "Start the command once" in ended.err


@pytest.mark.slow
def test_a_depth_profile_searches_a_rate_at_the_middle_and_runs_every_depth_at_it(command, planted, tmp_path):
    runs = planted(by_rate)
    ended = command(
        "experiment=depth_profile study.similar=[dataset=digits] study.different=[] study.sizes=[4] "
        "study.rates=[0.001,0.01] study.seeds=[0] trainer.epochs=2 trainer.batch_size=8 logger.progress=off sweep=d"
    )
    assert ended.status == 0, ended
    search = [(f"depth_{control}_3", rate, 0) for control in ("frozen", "trained", "random") for rate in (LOW, HIGH)]
    assert runs.done[:6] == search
    every = {f"depth_{control}_{n}" for control in ("frozen", "trained", "random") for n in range(1, 6)}
    assert {name for name, _, _ in runs.done} == every | {"depth_trained_0"}
    assert len(runs.done) == 16 + 3
    study = StudyRecord.read(tmp_path / "outputs" / "d")
    assert study.kind == "depth_profile"
    told = {one["name"]: (one["control"], one["kept"], one["stage"]) for one in study.strategies}
    assert told["depth_frozen_3"] == ("frozen", 3, "conv3")
    assert told["depth_trained_0"] == ("trained", 0, None)


@pytest.mark.slow
def test_audit_only_shows_a_plan_for_each_strategy_and_trains_nothing(command, planted):
    runs = planted(by_rate)
    ended = command(f"{TWO} audit=only")
    assert ended.status == 0, ended
    assert ended.out.count("frozen norms") == 2
    assert runs.done == []


@pytest.mark.slow
def test_a_real_study_in_processes_of_its_own(command, report, tmp_path):
    line = TWO.replace("launch.jobs=1", "launch.jobs=2")
    ended = command(line, apart=True)
    assert ended.status == 0, ended
    records = read_sweep(tmp_path / "outputs" / "s").records
    assert len(records) == 6
    assert {record.status for record in records} == {"finished"}
    before = {path: path.read_bytes() for path in (tmp_path / "outputs" / "s").glob("*/result.json")}
    first = min(before)
    first.unlink()
    assert command(line, apart=True).status == 0
    assert Record.read(first.parent).metrics["test/accuracy"] == json.loads(before[first])["metrics"]["test/accuracy"]
    assert all(path.read_bytes() == text for path, text in before.items() if path != first)
