"""Which strategy to take: what was measured of source and target → the case, the choice, and why.

A pure function of plain values: what was recorded can be advised on again, under other `rules.Rules`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from thawlab.errors import in_words
from thawlab.rules import DEFAULT, LARGE, SMALL, Figures, Rules
from thawlab.similarity.measured import Similarity
from thawlab.strategy import Strategy, Thaw

# As in conf/strategy/; a test holds the two together. Older records were advised `truncate` and `partial` too.
PRESETS = {
    preset.name: preset
    for preset in (
        Strategy("freeze", train=0),
        Strategy("truncate", keep=0.5, train=0),
        Strategy("partial", train=0.5, layer_decay=0.9, source_rate=0.2),
        Strategy("full", layer_decay=0.9, source_rate=0.2),
        Strategy("gradual", thaw=Thaw("every", 2), layer_decay=0.9, source_rate=0.2),
        Strategy("scratch", weights="random"),
    )
}
_LITERALS = ("null", "true", "false", "nan", "inf")
_DOES = {
    "freeze": "keep all stages, frozen, and train a new head on them",
    "gradual": "keep {stages}, and thaw one each epoch from the head down",
    "full": "keep {stages}, and train them from the source's weights, slower further down",
    "scratch": "train everything from random weights",
}


@dataclass(frozen=True)
class Close:
    """A strategy that little more or less would have brought."""

    like: str
    words: str
    why: str


@dataclass(frozen=True)
class Advice:
    """What to do, and why; docs/howto/advice.md explains it."""

    case: int  # 1 small and similar, 2 small and different, 3 large and similar, 4 large and different
    size: str  # small, middle, large
    similar: bool
    images: int  # to train on; `similarity` may rest on some of them
    like: str  # the preset that it is, or is nearest to
    strategy: Strategy
    rate: float  # the head's, `optimizer.lr`
    reason: str  # two sentences
    close: tuple[Close, ...]
    similarity: Similarity

    @property
    def words(self) -> str:
        """What tells train.py to do this, whatever is measured then."""
        return f"{self.strategy_words} optimizer.lr={self.rate:g}"

    @property
    def strategy_words(self) -> str:
        """The same without the rate."""
        return _words(self.strategy)

    @property
    def title(self) -> str:
        """The case in words."""
        similar = "similar to the source's" if self.similar else "different from the source's"
        size = {SMALL: "few", LARGE: "many"}.get(self.size, "between few and many")
        return f"case {self.case}: {size} images, {similar}"

    @property
    def lines(self) -> list[str]:
        """All of it but the figures, as a person reads it."""
        close = [f"close: {one.like}, {one.why} ({one.words})" for one in self.close]
        return [f"strategy=auto, {self.title}", self.reason, f"the same without measuring: {self.words}", *close]

    def to_plain(self) -> dict[str, Any]:
        """Numbers, words, lists and dicts alone, as JSON and checkpoints hold them; `words` is for readers."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        return plain | {
            "strategy": asdict(self.strategy),
            "words": self.words,
            "close": [asdict(one) for one in self.close],
            "similarity": self.similarity.to_plain(),
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "Advice":
        """What `to_plain` gave. Raises ValueError where it is not as that gives it."""
        try:
            values = {field.name: plain[field.name] for field in fields(cls)}
            strategy = {**values["strategy"], "thaw": Thaw(**values["strategy"]["thaw"])}
            values["strategy"] = Strategy(**strategy)
            values["close"] = tuple(Close(**one) for one in values["close"])
            values["similarity"] = Similarity.from_plain(values["similarity"])
            if values["like"] not in PRESETS or values["rate"] <= 0:
                raise TypeError(f"like is {values['like']!r}, rate {values['rate']!r}")
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"advice is not as thawlab writes it: {in_words(error)}") from error
        return cls(**values)


def advise(
    similarity: Similarity,
    stages: Sequence[str],
    images: int | None = None,
    rules: Rules = DEFAULT,
    rate: float | None = None,
) -> Advice:
    """Choose a strategy by what was measured on training images.

    `stages` are the network's below the head, input to output; those that were not measured are never chosen as the
    last to keep. `images`: how many there are to train on, where not all were measured. `rate`: the head's, where the
    rules' are not to be taken. The same figures bring the same advice, of more images none that freezes more at the
    start.
    """
    count = similarity.images if images is None else images
    figures = Figures.of(similarity, stages, count)
    strategy = _chosen(figures, rules)
    close: dict[str, Close] = {}
    for other, why in figures.neighbours(rules):
        alike = _chosen(other, rules)
        words = f"{_words(alike)} optimizer.lr={rate or other.rate(alike.name, rules):g}"
        if alike != strategy and words not in close:
            close[words] = Close(alike.name, words, why)
    return Advice(
        case=figures.case(rules),
        size=figures.size(rules),
        similar=figures.similar(rules),
        images=count,
        like=strategy.name,
        strategy=strategy,
        rate=rate or figures.rate(strategy.name, rules),
        reason=_reason(similarity, figures, strategy, rules),
        close=tuple(close.values()),
        similarity=similarity,
    )


def applied(config: Mapping[str, Any], advice: Advice | None) -> dict[str, Any]:
    """A resolved config with what was advised in the place of `strategy=auto`; without advice, as it is."""
    if advice is None:
        return dict(config)
    own = {key: config["strategy"][key] for key in ("name", "norm")}  # the user's: runs are compared by the name
    return {
        **config,
        "strategy": {**config["strategy"], **asdict(advice.strategy), **own},
        "optimizer": {**config["optimizer"], "lr": advice.rate},
    }


def recorded(plain: Mapping[str, Any]) -> Advice | None:
    """The advice of a record; None: its run was not advised. Raises ValueError as `Advice.from_plain`."""
    return Advice.from_plain(plain) if plain else None


def _chosen(figures: Figures, rules: Rules) -> Strategy:
    preset = PRESETS[figures.strategy(rules)]
    if preset.name in ("freeze", "scratch"):
        return preset
    # One stage each epoch, as Howard & Ruder (2018) have it: all thaw in a run of more epochs than stages are kept.
    thaw = Thaw("every", 1) if preset.name == "gradual" else preset.thaw
    return replace(preset, keep=figures.kept(rules).stage if figures.cut(rules) else preset.keep, thaw=thaw)


def _words(strategy: Strategy) -> str:
    preset = PRESETS[strategy.name]
    keep = f" strategy.keep={_quoted(str(strategy.keep))}" if strategy.keep != preset.keep else ""
    thaw = f" strategy.thaw.epochs={strategy.thaw.epochs}" if strategy.thaw != preset.thaw else ""
    return f"strategy={strategy.name}{keep}{thaw}"


def _quoted(name: str) -> str:
    """A stage's name as a shell hands it to Hydra, which takes some words for numbers, truths or nothing."""
    bare = re.fullmatch(r"[A-Za-z][A-Za-z0-9_.]*", name) and name.lower() not in _LITERALS
    return name if bare else f"\"'{name}'\""


def _reason(similarity: Similarity, figures: Figures, strategy: Strategy, rules: Rules) -> str:
    """Two sentences: what was measured, and what follows."""
    stages = "all stages" if strategy.keep == 1 else f"the stages up to {strategy.keep}"
    does = _DOES[strategy.name].format(stages=stages)
    return f"{_amount(similarity, figures, rules)}, and {_nearness(similarity, figures, rules)}. So {does}."


def _amount(similarity: Similarity, figures: Figures, rules: Rules) -> str:
    few, few_all, many, many_all = (
        f"{count:,g}" for count in (rules.few_per_class, rules.few_images, rules.many_per_class, rules.many_images)
    )
    said = {
        SMALL: f"few (under {few} each or {few_all} in all)",
        LARGE: f"many (from {many} each and {many_all} in all on)",
    }.get(figures.size(rules), f"between few (under {few} each or {few_all} in all) and many ({many} and {many_all})")
    each = f"{figures.per_class:.3g} for each of {similarity.classes} classes"
    return f"{figures.images:,} training images, {each}, are {said}"


def _nearness(similarity: Similarity, figures: Figures, rules: Rules) -> str:
    if not figures.known:
        return "how near the source is cannot be told: they are too few for its features to be cross-validated"
    near = "similar" if figures.similar(rules) else "different" if figures.useful(rules) else "of little use as it is"
    kept, last = figures.kept(rules), figures.last
    read = f"a linear probe reads {last.probe:.1%} of the labels off the last stage, {last.stage}"
    if figures.known and figures.worth is not last:
        read = (
            f"LogME, {kept.evidence:.3f} at stage {kept.stage} and {last.evidence:.3f} at the last, {last.stage}, puts "
            f"the earlier first, off which a linear probe reads {kept.probe:.1%} of the labels (off the last "
            f"{last.probe:.1%})"
        )
    elif figures.cut(rules):
        read += (
            f", and {kept.probe:.1%} off stage {kept.stage}, where the nearest neighbour is right more often "
            f"({kept.neighbour:.1%}, at the last {last.neighbour:.1%})"
        )
    random = similarity.random_probe
    others = f"{similarity.pixels_probe:.1%} off small pictures"
    others += f" and {random:.1%} off random weights" if random is not None else ""
    spared = f"{figures.gain:.0%}" if figures.gain > 0 else "none"
    gain = f"of whose errors {figures.worth.stage} spares {spared}"
    if figures.hopeless(rules):
        gain += f", and the last stage, {last.probe:.1%}, hardly reads more than random weights"
    little = ""
    if figures.foreign(rules):
        little = f", though its own classes tell little of these (LEEP {similarity.leep:.2f})"
    return f"the source is {near}: {read} against {others}, {gain}{little}"
