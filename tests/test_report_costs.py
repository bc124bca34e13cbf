"""The costs of runs that share a cache, against what each would take alone."""

import pytest
from planted_records import EPOCHS, FORWARD, Planted, curves_of, plant

from thawlab.record import read_sweep
from thawlab.report.costs import flops_alone, flops_until, made_ready, seconds_until
from thawlab.report.evidence import cell_of, gather
from thawlab.report.ledger import reached

HEAD = 1000  # FLOPs of the head for an image, forward and backward
SIZE = 100
ALONE = SIZE * FORWARD + EPOCHS * SIZE * HEAD  # the frozen part once, the head in each epoch


def choice(built, epoch=0, images=SIZE, reason=None, **more):
    return {
        "split": "train", "epoch": epoch, "frozen": ["conv1", "conv2"], "reason": reason, "images": images, "nbytes": 0,
        "built": built, "seconds": 0.4, "flops": FORWARD, "rows": "images", "refused_by": "",
    } | more  # fmt: skip


def cached(folder, run, built, *later):
    """A run that computed `built` of its rows and read the others."""
    record = plant(folder, run)
    record.costs["flops"]["train"] = built * FORWARD + EPOCHS * SIZE * HEAD
    record.costs["seconds"]["total"] = 2.4
    record.costs["cache"] = [choice(built), choice(7, split="val"), *later]
    record.write(folder / record.name)
    return record


@pytest.mark.parametrize("built", [0, 6, SIZE])
def test_who_computed_the_rows_does_not_matter(tmp_path, built):
    record = cached(tmp_path, Planted("freeze"), built)
    assert flops_alone(record) == ALONE


def test_two_runs_that_share_a_cache_cost_the_same(tmp_path):
    for seed, built in enumerate((SIZE, 0)):
        cached(tmp_path, Planted("freeze", 0.5, seed), built)
        cached(tmp_path, Planted("freeze", 0.4, seed, rate=0.1), 0)
    plant(tmp_path, Planted("scratch", 0.45))
    evidence = gather(read_sweep(tmp_path))
    freeze = evidence.groups[0]
    cell = cell_of(freeze)
    assert (cell.strategy, cell.flops) == ("freeze", ALONE)
    assert cell.search[1] == 2 * ALONE
    curves = {run.record.name: curves_of(Planted("freeze", 0.5)) for run in freeze.chosen}
    (found, *_) = (one for one in reached(evidence, curves) if one.strategy == "freeze" and one.score == 0.45)
    assert found.flops == pytest.approx(SIZE * FORWARD + 3 * SIZE * HEAD)  # 0.9 x 0.5 after three of four epochs


def test_what_is_computed_once_stands_in_the_epoch_that_needs_it(tmp_path):
    record = cached(tmp_path, Planted("freeze"), 0)
    assert [flops_until(record, epochs, EPOCHS) for epochs in (1, 4)] == pytest.approx(
        [SIZE * FORWARD + SIZE * HEAD, ALONE]
    )
    assert seconds_until(record, 1, EPOCHS) == pytest.approx(0.8 + (2.4 - 0.8) / 4)
    assert seconds_until(record, 4, EPOCHS) == pytest.approx(2.4)


def test_rows_of_later_stretches(tmp_path):
    """The same rows are computed once in a run; views of later epochs, and those of another cut, are others."""
    same = choice(0, epoch=2)
    deeper = choice(10, epoch=2, frozen=["conv1"], flops=FORWARD // 2)
    record = cached(tmp_path, Planted("freeze"), 0, same, deeper, choice(0, epoch=3, reason="no stage is frozen"))
    assert [(one.epoch, one.flops, one.found) for one in made_ready(record)] == [
        (0, SIZE * FORWARD, SIZE * FORWARD),
        (2, 0, 0),
        (2, SIZE * FORWARD // 2, 90 * FORWARD // 2),
    ]
    views = [choice(0, rows="views"), choice(5, epoch=2, rows="views")]
    record.costs["cache"] = views
    assert sum(one.found for one in made_ready(record)) == (SIZE + SIZE - 5) * FORWARD


def test_without_recorded_costs_nothing_is_said(tmp_path):
    record = plant(tmp_path, Planted(), "failed", "it broke")
    assert flops_alone(record) is flops_until(record, 1, 4) is seconds_until(record, 1, 4) is None
