"""Similarities with the figures that a test wants, as if they had been measured."""

from dataclasses import replace

from thawlab.similarity.measured import Similarity, StageSimilarity

DEMO = ("conv1", "conv2", "conv3", "fc1", "fc2")


def planted(probes, per_class=5.0, classes=10, pixels=0.6, random=0.5, stages=DEMO, **others) -> Similarity:
    """Stages with these linear probes; everything else is alike."""
    seen = [
        StageSimilarity(stage, 256, probe, 9 * probe, probe, probe, 0.2)
        for stage, probe in zip(stages, probes, strict=True)
    ]
    images = int(per_class * classes)
    found = Similarity(images, classes, int(per_class), per_class, 1 / classes, tuple(seen), -1.0, pixels, random, 0.1)
    return replace(found, **others)


LATE_BEST = (0.5, 0.6, 0.7, 0.8, 0.9)
EARLY_BEST = (0.5, 0.6, 0.95, 0.8, 0.7)
NO_BETTER = (0.5, 0.6, 0.61, 0.6, 0.58)
UNDEFINED = (float("nan"),) * 5
