"""What a study's settings stand for: targets, sizes and strategies, each as words of a command line."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from thawlab.errors import UserError
from thawlab.study.spec import StudySpec
from thawlab.words import spelled

# What a study sets for each of its runs -> where it is said instead.
OWN = {
    "dataset": "study.similar=[dataset=NAME] or study.different=[dataset=NAME]",
    "dataset.per_class": "study.sizes=[5,100]",
    "dataset.share": "study.sizes=[0.1,1.0]",
    "strategy": "study.strategies=[freeze,full]",
    "optimizer.lr": "study.rates=[0.001,0.003]",
    "seed": "study.seeds=[0,1,2]",
    "study": "study.kind=none on the command line",
}


@dataclass(frozen=True)
class Target:
    """Images that the network is put to use on, and how far they are from the source's."""

    words: tuple[str, ...]
    case: str  # similar, different


@dataclass(frozen=True)
class Size:
    """How many images a run trains on, and how long."""

    amount: int | float  # images per class, or a share
    label: str  # small, between, large
    words: tuple[str, ...]

    @property
    def per_class(self) -> int | None:
        """Images per class; None where it is a share."""
        return self.amount if isinstance(self.amount, int) else None

    @property
    def share(self) -> float | None:
        """Share of the training images; None where it is a number per class."""
        return self.amount if isinstance(self.amount, float) else None

    def __str__(self) -> str:
        return f"{self.amount:.0%} of its images" if self.share else f"{self.amount} per class"


def key_of(word: str) -> str:
    """What a word of a command line sets."""
    return word.lstrip("+~").partition("=")[0]


def check_free(words: Sequence[str], place: str = "") -> None:
    """Refuse words that set what a study sets itself: they would do nothing, or hide what it compares."""
    for word in words:
        key = key_of(word)
        if key in OWN and not (place and key == "dataset"):
            raise UserError(
                f"{place}{word!r} is set, but this study sets {key} for each of its runs. Say {OWN[key]} instead."
            )


def own_words(words: Sequence[str]) -> list[str]:
    """The words that every run of a study has, without those that are about the study and where it lands."""
    about = [word for word in words if key_of(word).partition(".")[0] in ("study", "sweep", "audit")]
    return [word for word in words if word not in about]


def targets(spec: StudySpec) -> tuple[Target, ...]:
    """The targets of a study, the similar ones first. A word `dataset=NAME` begins another one."""
    return tuple(dict.fromkeys((*_targets(spec.similar, "similar"), *_targets(spec.different, "different"))))


def _targets(words: Sequence[str], case: str) -> list[Target]:
    found: list[list[str]] = []
    for word in words:
        if "=" not in word:
            raise UserError(f"study.{case} has {word!r}. Write key=value, as in study.{case}=[dataset={word}].")
        if key_of(word) == "dataset":
            found.append([])
        if not found:
            raise UserError(
                f"study.{case} begins with {word!r}, but a target begins with its data set. "
                f"Write study.{case}=[dataset=folder,{word}]."
            )
        found[-1].append(spelled(word))
    for target in found:
        check_free(target, place=f"study.{case}: ")
    return [Target(tuple(target), case) for target in found]


def sizes(spec: StudySpec, typed: Sequence[str]) -> tuple[Size, ...]:
    """The sizes of a study; what was typed for every run, `trainer.epochs` say, is left as it was typed."""
    keys = {key_of(word) for word in typed}
    lasting = {"trainer.epochs": spec.epochs, "trainer.batch_size": spec.batch_sizes}
    lasting = {key: values for key, values in lasting.items() if values and key not in keys}
    return tuple(_size(spec, amount, lasting) for amount in spec.sizes)


def _size(spec: StudySpec, amount: int | float, lasting: Mapping[str, Sequence[int]]) -> Size:
    first, last = spec.sizes[0], spec.sizes[-1]
    label = "small" if amount == first else "large" if amount == last else "between"
    chosen, other = ("share", "per_class") if isinstance(amount, float) else ("per_class", "share")
    words = [f"dataset.{other}=null", f"dataset.{chosen}={amount!r}"]
    words += [f"{key}={between(first, last, amount, values)}" for key, values in lasting.items()]
    return Size(amount, label, tuple(words))


def between(first: float, last: float, amount: float, values: Sequence[int]) -> int:
    """The value at `amount`, of one at the first size and one at the last: straight where both axes are logarithmic.

    >>> between(5, 500, 50, [40, 10])
    20
    """
    if len(values) == 1 or first == last:
        return values[0]
    place = math.log(amount / first) / math.log(last / first)
    return round(math.exp(math.log(values[0]) + place * math.log(values[1] / values[0])))


def strategy_words(entry: str) -> tuple[str, ...]:
    """A strategy with further words, as words: `partial strategy.train=1`."""
    if not entry.strip():
        raise UserError("study.strategies has an empty entry. Name a strategy, as in study.strategies=[freeze,full].")
    choice, *more = entry.split()
    choice = choice.removeprefix("strategy=")
    for word in more:
        if "=" not in word:
            raise UserError(f"study.strategies has {entry!r}: {word!r} is no setting. Write key=value.")
    check_free(more, place=f"study.strategies: {choice}: ")
    return (f"strategy={choice}", *more)
