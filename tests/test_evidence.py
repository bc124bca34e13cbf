import pytest
from planted_records import Planted, plant, study

from thawlab.record import Record, Sweep, read_sweep
from thawlab.report.evidence import MEASURED, NO_RESULT, NOT_COUNTED, SEARCHED, cell_of, gather, notes_on_rates, rows_of
from thawlab.report.findings import Task
from thawlab.study_record import StudyRecord


def gathered(folder):
    return gather(read_sweep(folder))


def test_a_cell_is_a_strategy_on_a_task_over_seeds(tmp_path):
    for seed, score in enumerate([0.8, 0.82, 0.87]):
        plant(tmp_path, Planted(score=score, seed=seed))
    plant(tmp_path, Planted(size=400))
    plant(tmp_path, Planted(target="shapes"))
    plant(tmp_path, Planted(source="other", name="of-other"))
    evidence = gathered(tmp_path)
    cells = [cell_of(group) for group in evidence.groups]
    assert [(cell.task, cell.strategy, cell.score.n) for cell in cells] == [
        (Task("digits", "other", 100), "full", 1),
        (Task("digits", "thawlab_demo", 100), "full", 3),
        (Task("digits", "thawlab_demo", 400), "full", 1),
        (Task("shapes", "thawlab_demo", 100), "full", 1),
    ]
    cell = cells[1]
    assert (cell.seeds, cell.test_images, cell.rate, cell.search) == ((0, 1, 2), 500, 0.01, None)
    # t(0.975, 2) = 4.302653 in tables; s^2 = 0.0026 / 2
    assert cell.score.value == pytest.approx(0.83)
    assert cell.score.high - 0.83 == pytest.approx(4.302653 * (0.0013 / 3) ** 0.5, rel=1e-6)
    assert (cell.seconds, cell.flops, cell.images) == (pytest.approx(1.2), pytest.approx(1.2e9), 400)


def test_what_follows_from_the_size_or_the_task_is_in_no_label(tmp_path):
    for size, epochs in ((100, 30), (400, 15)):
        for strategy in ("full", "scratch"):
            plant(tmp_path, Planted(strategy, size=size), **{"trainer.epochs": epochs, "trainer.batch_size": epochs})
    plant(tmp_path, Planted("full", target="shapes"), **{"dataset.root": "elsewhere"})
    assert {group.strategy for group in gathered(tmp_path).groups} == {"full", "scratch"}


def test_what_else_varies_is_in_the_label_and_scratch_is_the_one_with_the_same(tmp_path):
    for optimizer in ("sgd", "adamw"):
        for strategy in ("full", "scratch"):
            run = Planted(strategy, name=f"{strategy}-{optimizer}")
            plant(tmp_path, run, **{"optimizer.name": optimizer})
    evidence = gathered(tmp_path)
    found = {group.strategy: evidence.scratch_of(group).strategy for group in evidence.groups}
    assert found["full, optimizer.name=sgd"] == "scratch, optimizer.name=sgd"
    assert found["full, optimizer.name=adamw"] == "scratch, optimizer.name=adamw"


def test_the_rate_is_chosen_by_validation_images_and_the_search_told_apart(tmp_path):
    plant(tmp_path, Planted(score=0.6, val=0.9))
    plant(tmp_path, Planted(score=0.7, val=0.9, seed=1))
    plant(tmp_path, Planted(score=0.9, val=0.8, rate=0.1))
    plant(tmp_path, Planted(rate=1.0), "diverged", "the loss was NaN")
    evidence = gathered(tmp_path)
    (cell,) = (cell_of(group) for group in evidence.groups)
    assert (cell.rate, cell.searched, cell.seeds) == (0.01, ((0.01, 0.9), (0.1, 0.8)), (0, 1))
    assert cell.search == pytest.approx((1.2, 1.2e9, 400))
    rows = {row.name: row for row in rows_of(evidence)}
    roles = {name: row.role for name, row in rows.items()}
    assert roles == {
        "full-s0-digits-100": MEASURED,
        "full-s1-digits-100": MEASURED,
        "full-s0-digits-100-lr0.1": SEARCHED,
        "full-s0-digits-100-lr1": NO_RESULT,
    }
    assert rows["full-s0-digits-100-lr1"].reason == "the loss was NaN"


def searched_twice(folder, **chosen):
    """Of the rate that is better by the runs that are left, one of the two search runs diverged."""
    for rate, val in ((0.001, 0.7), (0.01, 0.8)):
        for seed in (0, 1):
            broke = (rate, seed) == (0.01, 1)
            run = Planted(seed=seed, rate=rate, val=val)
            plant(folder, run, *(("diverged", "the loss was NaN") if broke else ()))
    plant(folder, Planted(seed=2, rate=0.001, val=0.7))
    told = {"target": "digits", "per_class": 10, "share": None, "strategies": ["full"], "searched": "full"}
    study(folder, chosen=[{**told, "rate": 0.001, "scores": [[0.001, 0.7]], "failed": [0.01], **chosen}])
    return gather(read_sweep(folder), StudyRecord.read(folder))


def test_the_rate_that_a_study_chose_is_the_reports(tmp_path):
    evidence = searched_twice(tmp_path)
    (cell,) = (cell_of(group) for group in evidence.groups)
    assert (cell.rate, cell.seeds, cell.searched) == (0.001, (0, 1, 2), ((0.001, 0.7),))
    assert evidence.notes == (
        "full, digits, 100 images: the study chose the rate 0.001; by the validation scores of all runs that are here "
        "it would be 0.01. The study's is shown.",
    )
    assert [cell_of(group).rate for group in gathered(tmp_path).groups] == [0.01]


def test_what_a_study_left_out_is_left_out(tmp_path):
    evidence = searched_twice(tmp_path, rate=None, scores=[], failed=[0.001, 0.01])
    assert evidence.groups == ()
    assert evidence.notes[0].endswith("so it is left out, as in the study.")


def test_a_chosen_rate_whose_runs_are_gone_is_told(tmp_path):
    evidence = searched_twice(tmp_path, rate=0.1)
    assert [group.rate for group in evidence.groups] == [0.01]
    assert evidence.notes == ("full, digits, 100 images: no run at the study's rate (0.1) is there; 0.01 is shown.",)


def test_the_rate_of_an_advised_run_is_the_advised_one(tmp_path):
    for seed, rate in enumerate((0.004, 0.004, 0.016)):
        record = plant(tmp_path, Planted("auto", seed=seed))
        record.advice.update(case=1, rate=rate)
        record.write(tmp_path / record.name)
    evidence = gathered(tmp_path)
    (cell,) = (cell_of(group) for group in evidence.groups)
    assert (cell.rate, cell.seeds) == (0.004, (0, 1, 2))
    assert [row.rate for row in rows_of(evidence)] == [0.004, 0.004, 0.016]
    assert evidence.notes == ("auto, digits, 100 images: advised rates differ by seed (0.004, 0.016).",)


@pytest.mark.parametrize(("scores", "low", "high"), [((0.8, 1.0), 0.0, 1.0), ((0.76, 0.80, 0.84), 0.7006, 0.8994)])
def test_the_interval_of_a_score_is_cut_where_no_score_lies(tmp_path, scores, low, high):
    for seed, score in enumerate(scores):
        plant(tmp_path, Planted(score=score, seed=seed))
    (cell,) = (cell_of(group) for group in gathered(tmp_path).groups)
    assert (cell.score.low, cell.score.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def test_a_rate_at_the_edge_of_its_search_is_told(tmp_path):
    for strategy, best in (("full", 0.01), ("freeze", 0.1), ("scratch", 0.001)):
        for rate in (0.001, 0.01, 0.1):
            plant(tmp_path, Planted(strategy, rate=rate, val=0.9 if rate == best else 0.5))
    highest, lowest = notes_on_rates([cell_of(group) for group in gathered(tmp_path).groups])
    assert highest.startswith("In 1 of 3 cells validation images chose the highest rate that was tried (freeze)")
    assert lowest.startswith("In 1 of 3 cells validation images chose the lowest rate that was tried (scratch)")


def test_a_seed_that_was_run_twice_counts_once(tmp_path):
    plant(tmp_path, Planted(name="a"))
    plant(tmp_path, Planted(name="b"), **{"dataset.per_class": None, "dataset.share": 0.1})
    evidence = gathered(tmp_path)
    assert [run.record.name for run in evidence.groups[0].chosen] == ["a"]
    assert evidence.notes == ("full, digits, 100 images: a seed was run twice; not counted: b.",)
    assert {row.name: row.role for row in rows_of(evidence)} == {"a": MEASURED, "b": NOT_COUNTED}


def test_runs_that_died_before_their_images_were_counted_have_no_task(tmp_path):
    refused = Record("r", "refused", {"strategy": {"name": "full"}, "seed": 3}, "dataset.root is no folder")
    evidence = gather(Sweep(tmp_path, (), (), (refused,), {}))
    row = rows_of(evidence)[0]
    assert (row.task, row.strategy, row.seed, row.rate, row.role) == (None, "full", 3, None, NO_RESULT)
    assert (evidence.groups, evidence.metric) == ((), "test/accuracy")


def test_runs_of_another_metric_are_left_out_and_named(tmp_path):
    for seed in range(2):
        plant(tmp_path, Planted(seed=seed))
    plant(tmp_path, Planted(target="tags", task="multilabel"))
    evidence = gathered(tmp_path)
    assert [group.task.target for group in evidence.groups] == ["digits"]
    assert "test/mean_average_precision are left out" in evidence.notes[0]
    assert sorted(row.role for row in rows_of(evidence)) == [MEASURED, MEASURED, NOT_COUNTED]
