"""Where one case ends and the next begins: the few numbers that advice rests on, and how measured figures meet them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from thawlab.similarity.measured import Similarity, StageSimilarity

SMALL, MIDDLE, LARGE = "small", "middle", "large"


@dataclass(frozen=True)
class Rules:
    """Every number that `advice.advise` rests on. Others make other advice of the same figures, offline."""

    # Below, a head alone has few examples enough, and all the rest would learn them by heart.
    few_per_class: float = 20.0
    few_images: float = 100.0
    # From here on training everything has paid in most of the published comparisons (Kornblith et al. 2019).
    many_per_class: float = 100.0
    many_images: float = 1000.0
    # Of a source that is different, less is lost by training: these counts are so much lower.
    different: float = 0.5
    # Share of what pixels and random weights get wrong that the source's features must put right.
    useful_gain: float = 0.1  # less: the source has nothing for these images
    similar_gain: float = 0.3  # more: it knows such images
    # What a stage is worth: shares, of 1 in all, of its linear probe, its nearest neighbours and its H-score.
    of_probe: float = 1.0  # what a trained head comes nearest to
    of_neighbours: float = 0.0
    of_h_score: float = 0.0  # as a share of the classes but one, which is the most that it can be
    # An earlier stage is worth more than the last by more than chance: so much, and so many standard errors.
    clear: float = 0.02
    clear_errors: float = 1.0
    near: float = 2.0  # a choice is close that so many times the images, or as few, would bring
    # AdamW's rates of the head. A head alone is convex and bears more; with all stages the network moves under it.
    rate_head: float = 0.01
    rate_stages: float = 0.003  # that of conf/optimizer/adamw.yaml, of which stages from the source take a fifth
    rate_random: float = 0.003


DEFAULT = Rules()


@dataclass(frozen=True)
class Seen:
    """A stage as it is judged; NaN: the images do not define it."""

    stage: str
    probe: float  # accuracy of a linear probe, 0 to 1
    worth: float  # about 0 to 1

    @classmethod
    def of(cls, measured: StageSimilarity, classes: int, rules: Rules) -> "Seen":
        """Weigh what was measured of a stage."""
        parts = (
            (rules.of_probe, measured.linear_probe),
            (rules.of_neighbours, measured.nearest_neighbour),
            (rules.of_h_score, measured.h_score / max(1, classes - 1)),
        )
        return cls(measured.stage, measured.linear_probe, sum(share * value for share, value in parts if share))

    def moved(self, by: float) -> "Seen":
        """The same stage, so much better."""
        return replace(self, probe=min(1.0, max(0.0, self.probe + by)), worth=self.worth + by)


@dataclass(frozen=True)
class Figures:
    """What of a similarity decides; shares from 0 to 1."""

    images: float  # to train on
    per_class: float
    measured: int  # images that the probes rest on
    baseline: float  # what features must beat: pixels, the same network with random weights, the commonest class
    seen: tuple[Seen, ...]  # input to last before the head

    @classmethod
    def of(cls, similarity: Similarity, stages: Sequence[str], images: int, rules: Rules) -> "Figures":
        """Take them from what was measured of those `stages` that can be kept; `images`: to train on."""
        baselines = [similarity.chance, similarity.pixels_probe, similarity.random_probe]
        return cls(
            images=images,
            per_class=images / similarity.classes,
            measured=similarity.images,
            baseline=max(value for value in baselines if value is not None and math.isfinite(value)),
            seen=tuple(Seen.of(one, similarity.classes, rules) for one in similarity.stages if one.stage in stages),
        )

    @property
    def known(self) -> bool:
        """Whether every stage can be judged."""
        return bool(self.seen) and all(math.isfinite(one.worth + one.probe) for one in self.seen)

    @property
    def last(self) -> Seen:
        """The last stage before the head."""
        return self.seen[-1]

    @property
    def best(self) -> Seen:
        """The stage that is worth most, the deepest of equals."""
        return max(reversed(self.seen), key=lambda one: one.worth)

    @property
    def gain(self) -> float:
        """Share of the baseline's errors that the best stage's features put right; below 0: they make more."""
        return (self.best.probe - self.baseline) / max(1 - self.baseline, 1 / self.measured)

    def margin(self, rules: Rules) -> float:
        """How much more a stage must be worth to be clearly better."""
        share = min(1.0, max(0.0, self.best.worth))
        return max(rules.clear, rules.clear_errors * math.sqrt(share * (1 - share) / self.measured))

    def cut(self, rules: Rules) -> bool:
        """Whether an earlier stage is clearly worth more than the last."""
        return self.known and self.best.worth - self.last.worth > self.margin(rules)

    def similar(self, rules: Rules) -> bool:
        """Whether the source knows such images up to its last stage. Taken for so where it cannot be told."""
        return not self.known or (self.gain >= rules.similar_gain and not self.cut(rules))

    def useful(self, rules: Rules) -> bool:
        """Whether the features are worth more than pixels and random ones. Taken for so where it cannot be told."""
        return not self.known or self.gain >= rules.useful_gain

    def fullness(self, rules: Rules) -> tuple[float, float]:
        """How many times over the images are more than few, and many; both counts must be."""
        factor = 1.0 if self.similar(rules) else rules.different
        few = min(self.per_class / rules.few_per_class, self.images / rules.few_images) / factor
        many = min(self.per_class / rules.many_per_class, self.images / rules.many_images) / factor
        return few, many

    def size(self, rules: Rules) -> str:
        """Small, middle or large."""
        few, many = self.fullness(rules)
        return LARGE if many >= 1 else MIDDLE if few >= 1 else SMALL

    def case(self, rules: Rules) -> int:
        """One of the four, from 1 (small, similar) to 4 (large, different); the middle is parted midway."""
        few, many = self.fullness(rules)
        large = many >= 1 or (few >= 1 and few * many >= 1)
        return 1 + 2 * large + (not self.similar(rules))

    def strategy(self, rules: Rules) -> str:
        """Name of the preset to take: the deciding table."""
        size = self.size(rules)
        if not self.useful(rules):
            return "scratch" if size == LARGE else "full"
        if size == SMALL:
            return "truncate" if self.cut(rules) else "freeze"
        if size == MIDDLE:
            return "partial" if self.similar(rules) else "gradual"
        return "full"

    def neighbours(self, rules: Rules) -> list[tuple["Figures", str]]:
        """Figures a little different from these, each with what is different in words."""
        near = rules.near
        found = [(self._times(near), f"with {near:g} times the images")]
        found.append((self._times(1 / near), f"with 1/{near:g} of the images"))
        if not self.known:
            return found
        step = self.margin(rules)
        points = f"{100 * step:.1f} points"
        return [
            *found,
            *[
                (self._moved(stage, sign * step), f"were {stage} {points} {word}")
                for stage in dict.fromkeys((self.best.stage, self.last.stage))
                for sign, word in ((-1, "worse"), (1, "better"))
            ],
            (replace(self, baseline=max(0.0, self.baseline - step)), f"were pixels and random weights {points} worse"),
            (replace(self, baseline=min(1.0, self.baseline + step)), f"were pixels and random weights {points} better"),
        ]

    def _times(self, factor: float) -> "Figures":
        return replace(self, images=self.images * factor, per_class=self.per_class * factor)

    def _moved(self, stage: str, by: float) -> "Figures":
        return replace(self, seen=tuple(one.moved(by) if one.stage == stage else one for one in self.seen))
