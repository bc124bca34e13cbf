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
    # From here on training everything has paid in most of the published comparisons (Kornblith et al. 2019); with 100
    # images of each digit a cut network is still ahead.
    many_per_class: float = 150.0
    many_images: float = 1500.0
    # Share of what pixels and random weights get wrong that the source's features must put right: with less they have
    # to change (MobileNetV2 on clothes 0.24, on textures, where a head alone does best, 0.7).
    useful_gain: float = 0.3
    # Share of what random weights get wrong that the last stage puts right: with less, and no earlier stage worth more,
    # a head has nothing of the source. Few images are still better off with it as a start (by 55 points in one task).
    hopeless: float = 0.05
    # The source's own classes tell the images' apart so badly (LEEP, as a share of guessing's loss) that its features
    # have to change: from 0.67 on for CIFAR-10's network wherever it went; up to 0.40 where a head on the
    # last stage does best.
    foreign: float = 0.6
    # LogME, and LEEP as a share of guessing's loss, differ between draws of the same images by so much over the root of
    # their number, and accuracies by so many of the probe's standard errors: choices within that are close.
    noise: float = 0.2
    clear_errors: float = 1.0
    # So many numbers are enough for a head: cut to fewer, CIFAR-10's network gains nothing.
    wide: int = 64
    near: float = 2.0  # a choice is close that so many times the images, or as few, would bring
    # AdamW's rates of the head, over the root of how many numbers it reads: each moves by the rate, and all add up.
    # Where stages train with it, it takes larger steps, for they follow it, but none larger than over `wide` numbers;
    # of its rate stages from the source take a fifth. Without batch norm they bear less, and least where all
    # train from the start (ViT-Tiny; the others are set by the demonstration network, ResNet-20 and MobileNetV2).
    rate_head: float = 0.128
    rate_trained: float = 0.256
    rate_thawed_without_batch_norm: float = 0.055
    rate_trained_without_batch_norm: float = 0.028
    rate_random: float = 0.002


DEFAULT = Rules()


@dataclass(frozen=True)
class Seen:
    """A stage as it is judged; NaN: the images do not define it."""

    stage: str
    probe: float  # accuracy of a linear probe, 0 to 1
    width: int  # numbers that a head on it reads
    evidence: float  # LogME
    neighbour: float  # accuracy of the nearest neighbour, 0 to 1
    batch_norm: bool

    @classmethod
    def of(cls, measured: StageSimilarity) -> "Seen":
        """What of a stage's figures decides."""
        found = measured.linear_probe, measured.width, measured.log_evidence, measured.nearest_neighbour
        return cls(measured.stage, *found, batch_norm=measured.norm_distance is not None)

    def moved(self, share: float, evidence: float) -> "Seen":
        """The same stage, so much better by LogME and in accuracy."""
        probe, neighbour = (min(1.0, max(0.0, value + share)) for value in (self.probe, self.neighbour))
        return replace(self, probe=probe, neighbour=neighbour, evidence=self.evidence + evidence)


@dataclass(frozen=True)
class Figures:
    """What of a similarity decides; shares from 0 to 1."""

    images: float  # to train on
    per_class: float
    measured: int  # images that the probes rest on
    baseline: float  # what features must beat: pixels, the same network with random weights, the commonest class
    random: float  # the second of these; 0 where it was not measured
    leep: float | None  # as a share of guessing's loss: 0 to about 1, the less the better
    seen: tuple[Seen, ...]  # input to last before the head

    @classmethod
    def of(cls, similarity: Similarity, stages: Sequence[str], images: int) -> "Figures":
        """Take them from what was measured of those `stages` that can be kept; `images`: to train on."""
        baselines = [similarity.chance, similarity.pixels_probe, similarity.random_probe]
        leep, random = similarity.leep, similarity.random_probe
        return cls(
            random=random if random is not None and math.isfinite(random) else 0.0,
            leep=-leep / math.log(similarity.classes) if leep is not None and math.isfinite(leep) else None,
            images=images,
            per_class=images / similarity.classes,
            measured=similarity.images,
            baseline=max(value for value in baselines if value is not None and math.isfinite(value)),
            seen=tuple(Seen.of(one) for one in similarity.stages if one.stage in stages),
        )

    @property
    def known(self) -> bool:
        """Whether every stage can be judged."""
        return all(math.isfinite(one.evidence + one.probe + one.neighbour) for one in self.seen)

    @property
    def last(self) -> Seen:
        """The last stage before the head."""
        return self.seen[-1]

    @property
    def best(self) -> Seen:
        """The stage that is worth most by LogME, the deepest of equals.

        Of those that give a head no fewer numbers than the last: on few images LogME favours narrow stages, whose
        heads then learn less.
        """
        wide = [one for one in reversed(self.seen) if one.width >= self.last.width]
        return max(wide, key=lambda one: one.evidence)

    @property
    def worth(self) -> Seen:
        """The best by LogME, where it is not less to both linear probe and neighbours than the last; else the last."""
        best, last = self.best, self.last
        agreed = best.probe >= last.probe or best.neighbour >= last.neighbour
        return best if agreed and best.evidence > last.evidence else last

    @property
    def gain(self) -> float:
        """Share of the baseline's errors that the features of `worth` put right; below 0: they make more."""
        return (self.worth.probe - self.baseline) / max(1 - self.baseline, 1 / self.measured)

    def margin(self, rules: Rules) -> float:
        """By how much the probe on `worth` may be off."""
        share = min(1.0, max(0.0, self.worth.probe))
        return rules.clear_errors * math.sqrt(share * (1 - share) / self.measured)

    def kept(self, rules: Rules) -> Seen:
        """The stage to keep the network up to, the last where no earlier one is worth as much.

        LogME gives wide stages more: where it keeps the last, but its features have to change, the stage is taken that
        neighbours tell best, of those wide enough that the probe finds no worse than the last within what it may err;
        of equals the one that the probe reads best, of these the deepest.
        """
        if not self.known:
            return self.last
        if self.worth is not self.last or (self.useful(rules) and not self.foreign(rules)):
            return self.worth
        least = self.last.probe - self.margin(rules)
        wide = min(rules.wide, self.last.width)
        able = [one for one in reversed(self.seen) if one.probe >= least and one.width >= wide]
        best = max(able, key=lambda one: (one.neighbour, one.probe))
        return best if best.neighbour > self.last.neighbour else self.last

    def cut(self, rules: Rules) -> bool:
        """Whether an earlier stage is worth as much as the last."""
        return self.kept(rules) is not self.last

    def foreign(self, rules: Rules) -> bool:
        """Whether the source's features would have to change. Taken for not so where it cannot be told."""
        return self.known and self.leep is not None and self.leep > rules.foreign

    def similar(self, rules: Rules) -> bool:
        """Whether the source knows such images up to its last stage. Taken for so where it cannot be told."""
        return self.useful(rules) and not self.cut(rules) and not self.foreign(rules)

    def useful(self, rules: Rules) -> bool:
        """Whether the features are worth more than pixels and random ones. Taken for so where it cannot be told."""
        return not self.known or self.gain >= rules.useful_gain

    def hopeless(self, rules: Rules) -> bool:
        """Whether the last stage is worth no more than with random weights, and no earlier one is to be kept."""
        if not self.known or self.random <= 0 or self.cut(rules):
            return False
        return self.last.probe - self.random < rules.hopeless * max(1 - self.random, 1 / self.measured)

    def fullness(self, rules: Rules) -> tuple[float, float]:
        """How many times over the images are more than few, and many; both counts must be."""
        few = min(self.per_class / rules.few_per_class, self.images / rules.few_images)
        many = min(self.per_class / rules.many_per_class, self.images / rules.many_images)
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
        if size == LARGE and self.hopeless(rules):
            return "scratch"
        # Between few and many ViT-Tiny, without batch norm, is better off thawing (on digits by 5 points).
        if size == LARGE or (size == MIDDLE and self.batch_norm(rules) and not self.useful(rules)):
            return "full"
        return "freeze" if self.similar(rules) else "gradual"

    def batch_norm(self, rules: Rules) -> bool:
        """Whether what is kept has any."""
        return any(one.batch_norm for one in self.seen[: self.seen.index(self.kept(rules)) + 1])

    def rate(self, strategy: str, rules: Rules) -> float:
        """The head's rate for one of those that `strategy` names."""
        if strategy == "scratch":
            return rules.rate_random
        width = self.kept(rules).width
        if strategy == "freeze":
            return float(f"{rules.rate_head / math.sqrt(max(1, width)):.2g}")
        bare = {"gradual": rules.rate_thawed_without_batch_norm, "full": rules.rate_trained_without_batch_norm}
        most = rules.rate_trained if self.batch_norm(rules) else bare[strategy]
        return float(f"{most / math.sqrt(max(rules.wide, width)):.2g}")

    def neighbours(self, rules: Rules) -> list[tuple["Figures", str]]:
        """Figures a little different from these, each with what is different in words."""
        near = rules.near
        found = [(self._times(near), f"with {near:g} times the images")]
        found.append((self._times(1 / near), f"with 1/{near:g} of the images"))
        if not self.known:
            return found
        step = self.margin(rules)
        noise = rules.noise / math.sqrt(self.measured)
        points = f"{100 * step:.1f} points"
        found += [
            (self._moved(stage, sign * step, sign * noise), f"were {stage} a little {word}")
            for stage in dict.fromkeys(one.stage for one in (self.best, self.last, self.kept(rules)))
            for sign, word in ((-1, "worse"), (1, "better"))
        ]
        if self.leep is not None:
            found += [
                (replace(self, leep=self.leep + noise), "did its own classes tell a little less of these"),
                (replace(self, leep=self.leep - noise), "did its own classes tell a little more of these"),
            ]
        return [
            *found,
            (replace(self, baseline=max(0.0, self.baseline - step)), f"were pixels and random weights {points} worse"),
            (replace(self, baseline=min(1.0, self.baseline + step)), f"were pixels and random weights {points} better"),
        ]

    def _times(self, factor: float) -> "Figures":
        return replace(self, images=self.images * factor, per_class=self.per_class * factor)

    def _moved(self, stage: str, share: float, evidence: float) -> "Figures":
        return replace(self, seen=tuple(one.moved(share, evidence) if one.stage == stage else one for one in self.seen))
