"""What is measured of each task before any training: the figures that advice rests on."""

import os
from pathlib import Path
from typing import Any

from bench.regret.running import COMMON
from bench.regret.tasks import Task
from thawlab import compose, schema
from thawlab.data.splits import load_splits
from thawlab.prepare import specs_of
from thawlab.similarity.gathering import measure


def similarities(task: Task, weights: Path, targets: Path, work: Path) -> dict[str, Any]:
    """Seed -> the similarity of its training images, in plain values."""
    schema.register()
    compose.register_resolvers()
    os.chdir(work)
    found = {}
    for seed in task.seeds:
        words = [*task.words(str(weights), str(targets)), *COMMON, f"seed={seed}", "strategy=auto"]
        config = compose.only_job(words).config
        specs = specs_of(config)
        found[str(seed)] = measure(config, load_splits(specs.dataset, specs.seed)).to_plain()
    return found
