import pytest
from planted_records import Planted, known, plant, study

from thawlab.record import read_sweep
from thawlab.report.cases import cases, depth
from thawlab.report.evidence import gather
from thawlab.report.pairing import Reader
from thawlab.study_record import StudyRecord


def judged(folder, scores, **more):
    for (strategy, size, target), score in scores.items():
        for seed in range(3):
            plant(folder, Planted(strategy, score + 0.004 * seed, seed, size, target))
    study(folder, **more)
    return cases(gather(read_sweep(folder)), StudyRecord.read(folder), Reader(folder, []))


def test_the_four_corners(tmp_path):
    folder = known(tmp_path / "known")
    found = cases(gather(read_sweep(folder)), StudyRecord.read(folder), Reader(folder, []))
    assert [
        (case.number, case.task.target, case.task.size, case.recipe, case.winners, case.held) for case in found
    ] == [
        (1, "digits", 100, "freeze", ("freeze",), "held"),
        (2, "shapes", 100, "truncate", ("truncate",), "held"),
        (3, "digits", 1600, "full", ("full",), "held"),
        (4, "shapes", 1600, "scratch", ("scratch",), "held"),
    ]
    assert found[2].sentence.startswith("full is the best of 4 with 93.5%, 4.0 points (95% interval ")
    assert found[2].sentence.endswith(
        "ahead of scratch; after Holm's correction within this corner it is shown to be better than "
        "scratch, truncate, freeze. Over the seeds that all have (0, 1, 2)."
    )


def planted(folder, scores, seeds, effects=(-0.15, -0.05, 0.2)):
    """`scores` differ by strategy, `effects` by seed; `seeds` of a strategy that has not all."""
    for strategy, score in scores.items():
        for seed in seeds.get(strategy, (0, 1, 2)):
            plant(folder, Planted(strategy, score + effects[seed], seed))
    study(folder)
    (case,) = cases(gather(read_sweep(folder)), StudyRecord.read(folder), Reader(folder, []))
    return case


def test_a_missing_run_makes_nothing_the_best(tmp_path):
    """Of full only the seed is there in which all are good: its mean is the highest, and it is behind."""
    case = planted(tmp_path, {"freeze": 0.6, "full": 0.68, "scratch": 0.7}, {"full": (1, 2)})
    assert case.winners[0] == "scratch"
    assert case.sentence.endswith("Over the seeds that all have (1, 2).")
    assert " -" not in case.sentence


def test_a_strategy_with_few_seeds_does_not_take_them_from_the_others(tmp_path):
    case = planted(tmp_path, {"freeze": 0.72, "full": 0.68, "scratch": 0.6}, {"full": (2,)})
    assert case.winners[0] == "freeze"
    assert case.sentence.endswith("Not compared, for want of seeds: full.")


def test_a_lead_that_the_correction_does_not_leave_is_not_shown(tmp_path):
    """One comparison alone would be shown; of five the same is not."""
    alone = judged(tmp_path / "two", {("freeze", 100, "digits"): 0.72, ("full", 100, "digits"): 0.7})
    others = {(f"other{i}", 100, "digits"): 0.715 for i in range(30)}
    among = judged(tmp_path / "many", {("freeze", 100, "digits"): 0.72, ("full", 100, "digits"): 0.7, **others})
    assert (alone[0].winners, "full" in among[0].winners) == (("freeze",), True)


def test_a_recipe_behind_by_its_own_interval_alone_neither_held_nor_failed(tmp_path):
    """Among thirty its lag is not shown; neither is that it is as good as the best."""
    others = {(f"other{i}", 100, "digits"): 0.715 for i in range(30)}
    scores = {("full", 100, "digits"): 0.72, ("freeze", 100, "digits"): 0.7, ("scratch", 100, "digits"): 0.3, **others}
    (case,) = judged(tmp_path, scores)
    assert (case.held, "freeze" in case.winners) == ("unclear", True)
    assert "of 33: worse by this interval alone, not after the correction; after Holm's" in case.sentence


@pytest.mark.parametrize(
    ("freeze", "full", "scratch", "held", "winners", "says"),
    [
        pytest.param(0.7, 0.8, 0.6, "did not hold", ("full",), "freeze has 70.4%, 10.0 points", id="beaten"),
        pytest.param(0.8, 0.802, 0.6, "held", ("full", "freeze"), "which does not show that it is worse", id="near"),
        pytest.param(0.8, 0.8, 0.802, "unclear", ("scratch", "freeze", "full"), "no strategy is shown", id="all alike"),
    ],
)
def test_a_recipe_holds_if_it_is_among_the_best_and_beats_another(tmp_path, freeze, full, scratch, held, winners, says):
    scores = {"freeze": freeze, "full": full, "scratch": scratch}
    (case,) = judged(tmp_path, {(name, 100, "digits"): score for name, score in scores.items()})
    assert (case.held, case.winners) == (held, winners)
    assert says in case.sentence


@pytest.mark.parametrize(
    ("scores", "winners", "says"),
    [
        pytest.param(
            {"full": 0.8, "freeze": 0.8, "scratch": 0.6},
            ("freeze", "full"),
            "freeze and full tie for the best of 3 with 80.4%; after Holm's",
            id="the recipe among them",
        ),
        pytest.param(
            {"full": 0.8, "freeze": 0.7, "partial": 0.8},
            ("full", "partial"),
            "behind full and partial, a tie for the best of 3, and is shown to be worse",
            id="the recipe behind them",
        ),
        pytest.param(
            {"full": 0.8, "partial": 0.8, "gradual": 0.8},
            ("full", "gradual", "partial"),
            "freeze has no result here; full, gradual and partial tie for the best of 3 with 80.4%.",
            id="without the recipe",
        ),
    ],
)
def test_equal_means_are_a_tie(tmp_path, scores, winners, says):
    (case,) = judged(tmp_path, {(name, 100, "digits"): score for name, score in scores.items()})
    assert case.winners == winners
    assert says in case.sentence


def test_a_recipe_that_was_not_run_or_alone_is_unclear(tmp_path):
    one, two = judged(tmp_path, {("full", 100, "digits"): 0.8, ("truncate", 100, "shapes"): 0.8})
    assert (one.held, one.sentence) == ("unclear", "freeze has no result here; full is the best of 1 with 80.4%.")
    assert (two.held, two.sentence) == ("unclear", "truncate has 80.4%, and nothing else was run here.")


def test_without_a_study_there_are_no_cases(tmp_path):
    plant(tmp_path, Planted())
    assert cases(gather(read_sweep(tmp_path)), None, Reader(tmp_path, [])) == ()


def test_one_seed_shows_nothing(tmp_path):
    plant(tmp_path, Planted("freeze", 0.5))
    plant(tmp_path, Planted("scratch", 0.9))
    study(tmp_path)
    (case,) = cases(gather(read_sweep(tmp_path)), StudyRecord.read(tmp_path), Reader(tmp_path, []))
    assert (case.held, case.winners) == ("unclear", ("scratch", "freeze"))
    assert case.sentence.endswith("One seed shows nothing of others: run more.")


def test_a_depth_profile_has_no_corners(tmp_path):
    for kind, corners in (("depth_profile", 0), ("four_cases", 1)):
        assert len(judged(tmp_path / kind, {("depth_frozen_2", 100, "digits"): 0.8}, kind=kind)) == corners


def test_points_of_a_depth_profile(tmp_path):
    for name, score in (("trained_0", 0.6), ("trained_2", 0.8), ("frozen_2", 0.7), ("random_2", 0.5)):
        for seed in range(2):
            plant(tmp_path, Planted(f"depth_{name}", score, seed))
    points = depth(gather(read_sweep(tmp_path)))
    assert [(p.control, p.kept, p.stage, p.score.value, p.score.n) for p in points] == [
        ("frozen", 0, "-", 0.6, 2),
        ("frozen", 2, "conv2", 0.7, 2),
        ("random", 0, "-", 0.6, 2),
        ("random", 2, "conv2", 0.5, 2),
        ("trained", 0, "-", 0.6, 2),
        ("trained", 2, "conv2", 0.8, 2),
    ]
