"""How the advice is judged: regret over tasks that were dealt beforehand."""

import itertools
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from bench.regret import judging, page, tasks  # noqa: E402 - bench/ is no part of the package


def scored(*values, **more):
    seeds = {str(seed): value for seed, value in enumerate(values)}
    return {"images": {"train": 50, "val": 9, "test": 100}, "test": seeds, "val": seeds, **more}


def task(part, auto=None, **strategies):
    found = {name: scored(0.5, 0.5, rate=0.004) for name in tasks.STRATEGIES}
    found |= {name: scored(*values, rate=0.004) for name, values in strategies.items()}
    done = {"auto": scored(*auto, advice={"0": "strategy=freeze", "1": "strategy=full"})} if auto else {}
    return {"part": part, "strategies": found, **done}


GRID = {
    "a": task("judge", auto=(0.78, 0.80), full=(0.8, 0.82), freeze=(0.7, 0.7)),
    "b": task("judge", auto=(0.93, 0.95), truncate=(0.9, 0.92), full=(0.6, 0.6)),
    "c": task("tune", auto=(0.1, 0.1)),
    "unfollowed": task("judge", full=(0.9, 0.9)),
    "followed alone": {"part": "judge", "auto": scored(0.1, 0.1)},
}


def test_no_pair_of_source_and_target_is_in_two_parts():
    pairs = [{(one.source, one.target) for one in tasks.tasks(part)} for part in tasks.PARTS]
    assert all(one.isdisjoint(other) for one, other in itertools.combinations(pairs, 2))
    assert len(list(tasks.tasks("judge"))) >= judging.LEAST_TASKS
    names = [one.name for one in tasks.tasks()]
    assert len(names) == len(set(names))


def test_every_part_has_several_sources_and_sizes():
    for part in tasks.PARTS:
        assert len({one.source for one in tasks.tasks(part)}) >= 3
        assert len({one.per_class for one in tasks.tasks(part)}) >= 3


def test_regret_is_the_best_strategys_mean_minus_what_was_chosen():
    found = {one.chooser: one for one in judging.regrets(GRID, "judge")}
    assert found["strategy=auto"].by_task == pytest.approx({"a": 0.02, "b": -0.03})
    assert found["strategy=auto"].mean == pytest.approx(-0.005)
    assert found["strategy=auto"].behind == pytest.approx(0.01)  # b's lead makes up for nothing of a's
    assert found["always full"].by_task == pytest.approx({"a": 0.0, "b": 0.31})
    assert found["always full"].worst == pytest.approx(0.31)
    assert found["a rule of sizes"].by_task == found["always freeze"].by_task == pytest.approx({"a": 0.11, "b": 0.41})


def test_intervals_are_over_pairs_of_source_and_target():
    """Of two pairs that agree in all their sizes a bootstrap draws one, the other or both: thrice the same or not."""
    found = judging.Regret("x", {"a-x-3": 0.0, "a-x-20": 0.0, "b-y-3": 0.1, "b-y-20": 0.1})
    assert found.interval == pytest.approx((0.0, 0.1))
    # Forty pairs: as the normal approximation has it, with each pair's mean counted once.
    values = np.random.default_rng(0).normal(0.02, 0.03, 40)
    many = judging.Regret("x", {f"a-{i}-{size}": value for i, value in enumerate(values) for size in (3, 20)})
    half = 1.96 * values.std() / np.sqrt(40)
    assert many.interval == pytest.approx((values.mean() - half, values.mean() + half), abs=0.0015)
    assert judging.Regret("x", {"a-x-3": 0.0, "a-x-20": 0.1}).interval is None


def test_what_one_costs_beyond_another_is_paired():
    found = {one.chooser: one for one in judging.regrets(GRID, "judge")}
    beyond = found["always full"].over(found["strategy=auto"])
    assert beyond.by_task == pytest.approx({"a": -0.02, "b": 0.34})


@pytest.mark.parametrize(
    ("images", "expected"), [(50, "freeze"), (19_999, "freeze"), (20_000, "partial"), (500_000, "full")]
)
def test_the_rule_of_sizes(images, expected):
    assert judging.by_size(images) == expected


def test_crossed_takes_the_best_by_the_other_seeds():
    lucky = {"x": task("judge", auto=(0.5, 0.5), full=(0.9, 0.1), freeze=(0.4, 0.6))}
    # By seed 1 freeze is best, and has 0.4 on seed 0; by seed 0 full is, and has 0.1 on seed 1.
    assert judging.crossed(lucky, "judge") == pytest.approx(((0.4 - 0.5) + (0.1 - 0.5)) / 2)


def test_verdicts_say_what_was_reached():
    reached = {asked: yes for asked, _, yes in judging.verdicts(judging.regrets(GRID, "judge"))}
    assert reached == {
        "at least 24 tasks": False,
        "mean regret below 1 point": True,
        "the same, where leads over all presets make up for nothing": False,
        "worst below 4 points": True,
        "better than a rule of sizes": True,
        "better than always freeze": True,
        "better than always full": True,
    }


def test_the_page_counts_only_what_was_measured_to_the_end(tmp_path):
    names = list(itertools.islice((one.name for one in tasks.tasks("judge")), 3))
    page.write(dict(zip(names, (GRID["a"], GRID["b"], GRID["unfollowed"]), strict=True)), tmp_path)
    text = (tmp_path / "regret.md").read_text()
    assert f"Over 2 of {len(list(tasks.tasks('judge')))} tasks" in text
    assert f"counted nowhere above: {names[2]}" in text
    row = next(line for line in text.splitlines() if line.startswith(f"| {names[0]} |"))
    assert row.endswith("| 79.0 | 2.0 | `strategy=freeze`; `strategy=full` |")
    assert "**81.0**" in row
    assert "| the same, where leads over all presets make up for nothing | 1.00 | NOT reached |" in text
    assert "It is behind the best preset in 1 tasks." in text
    assert "Of 18 searches 0 chose the highest rate" in text
    assert "| always full | 15.50 | 31.00 | 16.00 |" in text  # of one pair: no interval


def test_the_page_tells_the_means_without_the_pair_that_had_been_seen(tmp_path):
    names = ["vit_tiny-ants-10", "vit_tiny-korean-3"]
    assert set(names) <= {one.name for one in tasks.tasks("judge")}
    page.write(dict(zip(names, (GRID["a"], GRID["b"]), strict=True)), tmp_path)
    text = (tmp_path / "regret.md").read_text()
    assert "Without vit_tiny-ants the mean is -3.00, and 0.00 where leads make up for nothing." in text
    page.write({names[1]: GRID["b"]}, tmp_path)
    assert "Without vit_tiny-ants" not in (tmp_path / "regret.md").read_text()


def test_a_page_without_results_says_so(tmp_path):
    page.write({}, tmp_path)
    assert "nothing can be said yet" in (tmp_path / "regret.md").read_text()


def test_words_of_a_task_name_its_files(tmp_path):
    (one,) = (one for one in tasks.tasks() if one.name == "resnet20-greek-3")
    words = one.words("W", "T")
    assert {"backbone.weights=W/cifar10_resnet20.timm_byobnet.safetensors", "dataset.root=T/greek"} <= set(words)
    assert "dataset.per_class=3" in words
