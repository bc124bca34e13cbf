"""From a search's runs to the rate that each strategy gets."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from thawlab.compose import Job
from thawlab.crashes import recorded
from thawlab.job import folder_of
from thawlab.rates import choose_rate, validation_score
from thawlab.record import Record
from thawlab.study.jobs import Choice, Laid


@dataclass(frozen=True)
class Chosen:
    """The rate of a choice; None where all of its rates failed."""

    choice: Choice
    rate: float | None
    scores: dict[float, float] = field(default_factory=dict)  # rate -> mean validation score, of those that finished
    failed: tuple[float, ...] = ()  # rates of which a run did not finish

    @property
    def line(self) -> str:
        """What is told of it."""
        tried = [f"{rate:g}: {score:.1%}" for rate, score in self.scores.items()]
        tried += [f"{rate:g}: did not finish, so it is out" for rate in self.failed]
        what = "left out, since no rate finished" if self.rate is None else f"rate {self.rate:g}{self._edge}"
        return f"{self.choice.title}: {what} ({'; '.join(tried)})"

    @property
    def _edge(self) -> str:
        """Said where a better rate may lie beyond those tried; one that failed was tried too."""
        tried = [*self.scores, *self.failed]
        if len(tried) < 2 or self.rate not in (min(tried), max(tried)):
            return ""
        return f", the {'lowest' if self.rate == min(tried) else 'highest'} that was tried"

    def plain(self) -> dict[str, Any]:
        """As study.json has it."""
        return {
            "target": self.choice.dataset,
            "per_class": self.choice.size.per_class,
            "share": self.choice.size.share,
            "strategies": [job.config["strategy"]["name"] for job in self.choice.members],
            "searched": self.choice.searched.config["strategy"]["name"],
            "rate": self.rate,
            "scores": [[rate, score] for rate, score in self.scores.items()],
            "failed": list(self.failed),
        }


def choose(laid: Laid) -> list[Chosen]:
    """The rate of each choice, by the validation scores in the records of its search."""
    return [_chosen(laid, choice) for choice in laid.choices]


def _chosen(laid: Laid, choice: Choice) -> Chosen:
    """A rate with a run that did not finish is out: over fewer seeds its mean would be another's.

    One that only an earlier launch asked for is no candidate where it was not tried for this choice.
    """
    finished, failed = [], []
    for rate in laid.candidates:
        jobs = laid.tried(choice, rate)
        records = [_measured(job) for job in jobs]
        if None in records and (rate in laid.rates or any(folder_of(job).exists() for job in jobs)):
            failed.append(rate)
        finished += [] if None in records else [record for record in records if record is not None]
    if not finished:
        return Chosen(choice, None, failed=tuple(failed))
    return Chosen(choice, *choose_rate(finished), failed=tuple(failed))


def _measured(job: Job) -> Record | None:
    record = recorded(folder_of(job))
    return None if record is None or validation_score(record) is None else record


def left_out(chosen: Sequence[Chosen]) -> list[Chosen]:
    """Those of which no run is measured."""
    return [one for one in chosen if one.rate is None]
