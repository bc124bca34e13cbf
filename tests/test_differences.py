import pytest
from planted_records import Planted, plant

from thawlab.record import read_sweep
from thawlab.report.differences import differences, notes_on
from thawlab.report.evidence import gather
from thawlab.report.pairing import Reader


def held(folder, scores, seeds=(0, 1, 2)):
    for strategy, score in scores.items():
        for seed in seeds:
            plant(folder, Planted(strategy, score + 0.004 * seed, seed))
    found = differences(gather(read_sweep(folder)), Reader(folder, []))
    return {one.strategy: one for one in found}, notes_on(found)


def test_better_worse_and_unclear(tmp_path):
    found, notes = held(tmp_path, {"scratch": 0.7, "full": 0.8, "freeze": 0.6, "partial": 0.702})
    assert {name: (one.verdict, one.negative_transfer) for name, one in found.items()} == {
        "full": ("better", False),
        "freeze": ("worse", True),
        "partial": ("unclear", False),
    }
    assert [round(one.points.value, 3) for one in found.values()] == [-0.1, 0.1, 0.002]
    assert notes[0].startswith("3 of 3 differences rest on two or three seeds.")


def test_holm_counts_every_difference_of_the_report(tmp_path):
    found, _ = held(tmp_path, {"scratch": 0.7, "full": 0.72, "freeze": 0.7, "partial": 0.7})
    assert found["full"].p_holm == pytest.approx(min(1, 3 * found["full"].p))


def test_what_the_correction_does_not_leave_is_unclear_and_flagged(tmp_path):
    """Worse by its own interval; among thirty it is not shown."""
    others = {f"other{i}": 0.7 for i in range(30)}
    found, notes = held(tmp_path, {"scratch": 0.7, "full": 0.68, **others})
    full = found["full"]
    assert (full.p < 0.05 < full.p_holm, full.verdict, full.side, full.negative_transfer) == (
        True, "unclear", "below", True
    )  # fmt: skip
    assert notes[-1].startswith("1 of 31 differences lie wholly above or below scratch by their own interval, but not")


def test_one_seed_is_said_so(tmp_path):
    found, notes = held(tmp_path, {"scratch": 0.7, "full": 0.8}, seeds=[0])
    assert (found["full"].points.n, found["full"].verdict) == (1, "unclear")
    assert (found["full"].points.low > 0, found["full"].side) == (True, "across")
    assert notes == [
        "1 of 1 differences rest on one seed: their intervals tell of other test images, not of other seeds, so that "
        "nothing is shown. Run more: seed=0,1,2."
    ]


def test_without_scratch_there_is_no_difference(tmp_path):
    assert held(tmp_path, {"full": 0.8}) == ({}, [])
