"""All that a study may do, and the strategies of a depth profile laid over a network."""

import pytest

from thawlab import compose
from thawlab.prepare import specs_of
from thawlab.schema import register
from thawlab.strategy import lay
from thawlab.study.depth import depths, middle
from thawlab.study.jobs import at

register()
compose.register_resolvers()


class Stage:
    def __init__(self, name):
        self.name, self.size = name, 10


BODY = ["stem", "low", "high"]


def plan_of(point):
    (job,) = compose.jobs(["study=none", *point.words], multirun=False)
    specs = specs_of(job.config)
    assert specs.strategy.name == point.name
    return lay(specs.strategy, [Stage(name) for name in [*BODY, "head"]], lr=0.01)


def test_each_control_keeps_what_it_says_and_trains_all_else_at_one_rate():
    for control, points in depths(3).items():
        assert [point.kept for point in points] == ([0, 1, 2, 3] if control == "trained" else [1, 2, 3])
        for point in points:
            *body, head = plan_of(point).rows
            kept, others = body[: point.kept], body[point.kept :]
            assert {row.weights for row in kept} <= {"random" if control == "random" else "source"}
            assert {row.trains for row in kept} <= {control == "trained"}
            assert all(row.weights in ("fresh", "random") and row.trains for row in others)
            assert {row.rate for row in body if row.trains} <= {head.rate}
            assert head.weights == "new"


@pytest.mark.parametrize(("body", "expected"), [(1, 1), (2, 1), (3, 2), (5, 3)])
def test_the_rate_is_searched_half_way_down(body, expected):
    assert middle(body) == expected
    assert all(any(point.kept == expected for point in points) for points in depths(body).values())


def test_a_job_at_another_rate_and_seed_is_the_one_that_its_words_make():
    words = ["strategy=full", "dataset.per_class=4", "sweep=s"]
    (first,) = compose.jobs([*words, "optimizer.lr=0.1", "seed=0"], multirun=True)
    (wanted,) = compose.jobs([*words, "optimizer.lr=0.004", "seed=3"], multirun=True)
    made = at(first, 0.004, 3)
    assert made.name == wanted.name
    assert made.config == wanted.config
    assert sorted(made.overrides) == sorted(wanted.overrides)
    assert sorted(made.composed.hydra.overrides.task) == sorted(wanted.composed.hydra.overrides.task)
    assert first.config["seed"] == 0, "the first stays as it was"
