"""Small runs of every kind that a kill must not change: strategies, workers, schedules, and what else has a state."""

import itertools
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from thawlab import compose, schema
from thawlab.backbones.source import build_random
from thawlab.backbones.spec import BackboneSpec

SMALL = (
    "dataset=digits", "dataset.per_class=4", "trainer.epochs=4", "trainer.batch_size=10", "trainer.threads=1",
    "logger=none", "logger.progress=off",
)  # fmt: skip
STRATEGIES = {
    "freeze": ("strategy=freeze",),
    "partial": ("strategy=partial",),
    "full": ("strategy=full",),
    "gradual": ("strategy=gradual", "strategy.thaw.epochs=1"),
    "plateau thaw": ("strategy=gradual", "strategy.thaw.when=plateau", "strategy.thaw.patience=1"),
}
WORKERS = (0, 2, 4)
SCHEDULES = ("constant", "cosine", "one_cycle", "plateau")
EXTRAS = {
    "plain": (),
    "EMA": ("trainer.ema_decay=0.9",),
    "mixup": ("augment=mixup",),
    "dropout": ("head=mlp", "head.dropout=0.5"),
    "early stopping": ("trainer.early_stopping=1",),
    "accumulation": ("trainer.accumulate=2", "trainer.clip_norm=1.0"),
    "augmentation": ("augment=standard", "trainer.sampling=balanced"),
}
SAVES = (("checkpoint.steps=1",), ("checkpoint.steps=3",), ("checkpoint.minutes=0.002",))


@dataclass(frozen=True)
class Case:
    """A kind of run."""

    name: str
    words: tuple[str, ...]

    def config(self, small: tuple[str, ...] = SMALL) -> dict[str, Any]:
        """Resolved, as the command line makes it."""
        schema.register()
        compose.register_resolvers()
        (job,) = compose.jobs([*small, *self.words], multirun=False)
        return job.config


def cases(work: Path, seed: int) -> list[Case]:
    """Every strategy with every number of workers and every schedule, the rest dealt out over them, shuffled."""
    nets = [("demo", ("backbone=demo",)), ("resnet", _tiny(work))]
    kinds = list(itertools.product(STRATEGIES, WORKERS, SCHEDULES))
    random.Random(seed).shuffle(kinds)
    return [_case(i, kind, nets[i % len(nets)]) for i, kind in enumerate(kinds)]


def _case(i: int, kind: tuple[str, int, str], net: tuple[str, tuple[str, ...]]) -> Case:
    strategy, workers, schedule = kind
    extra = list(EXTRAS)[i % len(EXTRAS)]
    cached = i % 3 != 0 and extra not in ("mixup", "augmentation")
    words = (
        *STRATEGIES[strategy], f"trainer.workers={workers}", f"schedule={schedule}", *EXTRAS[extra], *net[1],
        f"cache={'on' if cached else 'off'}", *SAVES[i % len(SAVES)],
    )  # fmt: skip
    parts = (net[0], strategy, f"{workers} workers", schedule, extra, "cached" if cached else "not cached")
    return Case(", ".join(parts), words)


def _tiny(work: Path) -> tuple[str, ...]:
    """A tiny network of timm's with weights that nobody trained."""
    path = work / "test_resnet.safetensors"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        model = build_random(BackboneSpec("test_resnet", size=32), 7)
        save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path)
    torch.manual_seed(0)
    return ("backbone=timm", "backbone.name=test_resnet", "backbone.size=32", f"backbone.weights={path}")
