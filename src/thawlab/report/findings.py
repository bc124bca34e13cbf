"""What a report says, as data: made from records alone, drawn by `figures`, shown by `page`, written as report.json.

Scores and shares are 0 to 1; differences of scores too (0.03 is three points). `size` counts training images.
"""

from dataclasses import dataclass, field, replace
from typing import Any

# The four cases: the target's size and likeness, and what courses recommend for it.
CORNERS = {
    1: ("small", "similar", "freeze"),
    2: ("small", "different", "truncate"),
    3: ("large", "similar", "full"),
    4: ("large", "different", "scratch"),
}
HELD, NOT_HELD = "held", "did not hold"  # else unclear
SIGNS = {HELD: "✓", NOT_HELD: "✗"}
BETTER, WORSE, UNCLEAR = "better", "worse", "unclear"
ABOVE, BELOW, ACROSS = "above", "below", "across"
LEAD_CHANGES = "the lead also changes near"  # in the note of a crossing


@dataclass(frozen=True)
class Interval:
    """A mean with its 95% interval; `low` and `high` are None where n is 1, which says nothing of spread."""

    value: float
    low: float | None
    high: float | None
    n: int

    @property
    def side(self) -> str:
        """Where the whole interval lies: ABOVE zero, BELOW or ACROSS it. Of one seed ACROSS: it tells of no other."""
        if self.n > 1 and self.low is not None and self.low > 0:
            return ABOVE
        return BELOW if self.n > 1 and self.high is not None and self.high < 0 else ACROSS

    def cut(self, least: float, most: float) -> "Interval":
        """The same without what no mean can be: it holds the true one as often as before."""
        if self.low is None or self.high is None:
            return self
        return replace(self, low=max(self.low, least), high=min(self.high, most))


@dataclass(frozen=True)
class Task:
    """What runs share that can be compared: where the network comes from, where it goes, and with how many images."""

    target: str  # dataset.name
    source: str  # backbone.name
    size: int


@dataclass(frozen=True)
class RunRow:
    """A run, as the page's table lists it."""

    name: str
    task: Task | None  # None: it died before its images were counted
    strategy: str
    rate: float | None
    seed: int | None
    status: str
    reason: str | None
    role: str  # measured; searched: its rate was not chosen; not counted (a note says why); no result
    score: float | None
    val_score: float | None
    seconds: float | None
    flops: float | None
    images: int | None
    trained_share: float | None


@dataclass(frozen=True)
class Cell:
    """A strategy on a task, at the rate that validation images chose."""

    task: Task
    strategy: str
    rate: float
    searched: tuple[tuple[float, float], ...]  # each rate tried, and its mean validation score over the shared seeds
    runs: tuple[str, ...]  # names, in the order of `seeds`
    seeds: tuple[int, ...]
    score: Interval  # over seeds (Student's t), cut at 0 and 1
    test_images: int
    seconds: float | None  # means over the runs, of one run at the chosen rate
    flops: float | None
    images: float | None
    search: tuple[float, float, float] | None = None  # seconds, FLOPs, images of the runs at rates not chosen


@dataclass(frozen=True)
class Difference:
    """A strategy minus scratch on the same task, seeds and test images.

    Of one seed the interval is over test images alone; of several labels for an image it is over seeds alone.
    """

    task: Task
    strategy: str
    points: Interval  # holds for new seeds and new test images (docs/adr/0013), cut at -1 and 1; n: seeds of both
    images: int
    p: float  # two-sided, of the same distribution
    p_holm: float  # after Holm's correction over all differences of the report
    verdict: str  # BETTER, WORSE, UNCLEAR: where the interval lies, and p_holm is below 0.05; UNCLEAR of one seed

    @property
    def side(self) -> str:
        """Where the whole interval lies, whatever the correction says: ABOVE or BELOW scratch, or ACROSS it."""
        return self.points.side

    @property
    def negative_transfer(self) -> bool:
        """Whether transfer did harm: the whole interval lies below scratch. A verdict other than WORSE limits that."""
        return self.side == BELOW


@dataclass(frozen=True)
class Crossing:
    """Where scratch catches up with a strategy as images grow more; on a logarithmic axis, between measured sizes.

    `low` and `high` bound where the 95% interval of the lead has room for zero, as it does at `size`; None: beyond the
    sizes measured.
    """

    target: str
    source: str
    strategy: str
    size: float | None  # None: they do not cross within the sizes measured
    between: tuple[int, int] | None
    note: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class EffectiveData:
    """How many images scratch would need for a strategy's score (Hernandez et al. 2021, arXiv:2102.01293).

    `low` and `high` bound the sizes of scratch's whose 95% interval of the difference has room for zero; None: beyond
    the sizes measured.
    """

    task: Task
    strategy: str
    score: float
    scratch_needs: float | None  # None: more than the largest size measured, or fewer than the smallest
    transferred: float | None  # scratch_needs - size: the effective data transferred
    note: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class SourceCost:
    """What the source network cost to train; None where nobody told."""

    source: str
    seconds: float | None
    flops: float | None
    images: float | None
    told_by: str


@dataclass(frozen=True)
class Reached:
    """What it took to come to a validation score, from the curves of the runs; None where not every run came there.

    Two scores a task, where scratch was run: what each of its seeds came to, and 0.9 of the best strategy's.
    """

    task: Task
    strategy: str
    score: float
    seconds: float | None
    flops: float | None
    images: float | None


@dataclass(frozen=True)
class PaysOff:
    """After how many targets the source network has paid for itself, in FLOPs: its cost / (scratch - transfer)."""

    task: Task
    strategy: str
    saved_flops: float | None
    targets: float | None  # None: it never does, or its cost is not known
    note: str


@dataclass(frozen=True)
class Case:
    """A corner of the square of the four cases."""

    number: int  # 1 small similar, 2 small different, 3 large similar, 4 large different
    task: Task
    recipe: str  # the strategy that courses recommend
    winners: tuple[str, ...]  # the best by mean, and all that are not shown to be worse than it
    held: str  # held, did not hold, unclear
    sentence: str


@dataclass(frozen=True)
class DepthPoint:
    """A point of a depth profile (Yosinski et al. 2014, arXiv:1411.1792): `kept` first stages from the source."""

    task: Task
    control: str  # frozen, trained, random
    kept: int
    stage: str  # the last stage kept; "-" for none
    score: Interval


@dataclass(frozen=True)
class Mistake:
    """A test image that a run was sure of and wrong about."""

    run: str
    image: str  # its name
    label: str
    predicted: str
    confidence: float
    thumbnail: str | None  # a file in the run's folder


@dataclass(frozen=True)
class Findings:
    """Everything that the page shows."""

    title: str
    folder: str
    commands: tuple[tuple[str, ...], ...]  # of every launch, the latest last
    metric: str
    made: str  # ISO 8601, UTC
    versions: dict[str, list[str]]  # package -> versions seen
    runs: tuple[RunRow, ...]
    cells: tuple[Cell, ...]
    differences: tuple[Difference, ...]
    crossings: tuple[Crossing, ...]
    effective: tuple[EffectiveData, ...]
    sources: tuple[SourceCost, ...]
    reached: tuple[Reached, ...]
    pays_off: tuple[PaysOff, ...]
    cases: tuple[Case, ...]
    depth: tuple[DepthPoint, ...]
    plans: dict[str, list[dict[str, Any]]]  # strategy (and source, of several) -> a run's plan
    # `cell_name` -> classes, counts summed over the seeds, how many seeds
    confusions: dict[str, tuple[list[str], list[list[int]], int]]
    curves: dict[str, list[dict[str, Any]]]  # run -> rows of its curves.csv
    mistakes: tuple[Mistake, ...]
    left_out: tuple[tuple[str, str], ...]  # run -> why it is counted nowhere: missing, failed, unreadable
    cautions: tuple[str, ...] = ()  # what all scores suffer from: few images, few seeds
    notes: tuple[str, ...] = ()
    advice: dict[str, dict[str, Any]] = field(default_factory=dict)  # run of strategy=auto -> what it was advised


def cell_name(strategy: str, task: Task, several: bool) -> str:
    """A strategy on a task in words; `several`: there are several sources, so that its own is told."""
    return ", ".join([strategy, task.target, str(task.size), *([task.source] if several else [])])
