"""The tasks, dealt into parts before anything of a part was run: rules are tuned on some and judged on others.

Dealt by pairs of source and target, so that no pair is in two parts.
Two parts that judged found the rules wanting; since they were mended with those seen, a third one judges.
Sizes are training images per class; None is all that the target has. Steps grow with the images; a task's strategies,
rates and seeds all get the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass

STRATEGIES = ("freeze", "truncate", "partial", "full", "gradual", "scratch")
AUTO = "auto"
# Of the head; each strategy's is chosen on validation images, at the first seed. Of the first three parts' searches
# more than half ended at the highest of three.
RATES = (0.001, 0.004, 0.016, 0.064)
PARTS = TUNE, FIRST, SECOND, JUDGE = "tune", "first", "second", "judge"
LEAST_SEEDS = 2

# Where networks come from: the demonstration network from rendered characters, ResNet-20 from CIFAR-10, the others from
# ImageNet. `{weights}` is the folder of weights.
SOURCES = {
    "demo": "backbone=demo",
    "resnet20": "backbone=function backbone.name=cifar_resnet20 backbone.size=32"
    " backbone.function=docs/examples/cifar_resnet20.py:build"
    " backbone.weights={weights}/cifar10_resnet20.timm_byobnet.safetensors",
    "mobilenetv2": "backbone=mobilenetv2 backbone.size=96"
    " backbone.weights={weights}/mobilenetv2_100.tf2ptq_in1k.hflip.safetensors",
    "vit_tiny": "backbone=vit_tiny backbone.size=96 backbone.weights={weights}/vit_tiny_patch16_224.in1k.safetensors",
}
ALPHABETS = ("latin", "greek", "balinese", "korean", "early_aramaic")  # of Omniglot
# Where they go. `{targets}` is the folder that `prepare` makes.
TARGETS = {
    "digits": "dataset=digits",
    "near": "dataset=characters_near dataset.test_share=0.25 dataset.val_share=0.06",
    "shapes": "dataset=shapes dataset.test_share=0.25",
    "ants": "dataset=folder dataset.name=ants dataset.root={targets}/hymenoptera.zip",
    "textures": "dataset=folder dataset.name=textures dataset.root={targets}/textures.zip",
    "clothes": "dataset=folder dataset.name=clothes dataset.root={targets}/clothes dataset.val_share=0.06",
    "cifar": "dataset=folder dataset.name=cifar dataset.root={targets}/cifar dataset.val_share=0.06",
    **{
        name: f"dataset=folder dataset.name={name} dataset.root={{targets}}/{name} dataset.test_share=0.4"
        for name in ALPHABETS
    },
}
LARGE_NETWORKS = ("mobilenetv2", "vit_tiny")
_DEALT = {
    TUNE: (
        ("demo", "digits", (5, 20, 100)),
        ("demo", "shapes", (5, 50)),
        ("demo", "latin", (3, None)),
        ("resnet20", "clothes", (5, 20, 100)),
        ("resnet20", "greek", (3, None)),
        ("mobilenetv2", "textures", (5, None)),
        ("vit_tiny", "cifar", (5, 25)),
    ),
    FIRST: (
        ("demo", "near", (3, 10, 50, 140)),  # 200 before anything was run: a class has 141
        ("demo", "clothes", (5, 50, 200)),
        ("demo", "greek", (3, None)),
        ("demo", "cifar", (20, 200)),
        ("resnet20", "digits", (3, 20, 100)),
        ("resnet20", "shapes", (5, 50)),
        ("resnet20", "textures", (5, None)),
        ("resnet20", "ants", (10, None)),
        # mobilenetv2 on ants (5, None) was here too, until what it comes to was seen outside the grid.
        ("mobilenetv2", "clothes", (5, 25)),
        ("vit_tiny", "textures", (5, None)),
        ("vit_tiny", "digits", (3, 20)),
    ),
    SECOND: (
        ("demo", "textures", (5, None)),
        ("demo", "ants", (10, None)),
        ("demo", "balinese", (3, None)),
        ("demo", "korean", (3, None)),
        ("demo", "early_aramaic", (3, None)),
        ("resnet20", "near", (3, 20)),
        ("resnet20", "latin", (3, None)),
        ("resnet20", "korean", (3, None)),
        ("resnet20", "balinese", (None,)),
        ("mobilenetv2", "digits", (5, 20)),
        ("mobilenetv2", "cifar", (5, 25)),
        ("mobilenetv2", "greek", (3, None)),
        ("mobilenetv2", "shapes", (5,)),
        ("vit_tiny", "clothes", (5, 25)),
        ("vit_tiny", "latin", (3, None)),
    ),
    # The pairs that are left, but for mobilenetv2 on ants; none with the demonstration network is.
    JUDGE: (
        ("resnet20", "early_aramaic", (3, None)),
        ("mobilenetv2", "near", (3, 20)),
        ("mobilenetv2", "latin", (3, None)),
        ("mobilenetv2", "korean", (3, None)),
        ("mobilenetv2", "balinese", (3, None)),
        ("mobilenetv2", "early_aramaic", (3, None)),
        ("vit_tiny", "near", (3, 20)),
        ("vit_tiny", "shapes", (5, 20)),
        ("vit_tiny", "ants", (10, None)),
        ("vit_tiny", "greek", (3, None)),
        ("vit_tiny", "korean", (3, None)),
        ("vit_tiny", "balinese", (3, None)),
        ("vit_tiny", "early_aramaic", (3, None)),
    ),
}


@dataclass(frozen=True)
class Task:
    """A source, a target and a size."""

    part: str
    source: str
    target: str
    per_class: int | None

    @property
    def name(self) -> str:
        """Its name in tables and of its sweep."""
        return f"{self.source}-{self.target}-{self.per_class or 'all'}"

    @property
    def seeds(self) -> tuple[int, ...]:
        """The first chooses rates. Those tasks of the part to tune on that were done first had a third."""
        return (0, 1)

    @property
    def rates(self) -> tuple[float, ...]:
        """What is searched for each strategy's."""
        return RATES if self.part == JUDGE else RATES[:3]

    def words(self, weights: str, targets: str) -> list[str]:
        """Of the command line, but for strategy, rate and seed."""
        text = f"{SOURCES[self.source]} {TARGETS[self.target]}".format(weights=weights, targets=targets)
        return [*text.split(), *([f"dataset.per_class={self.per_class}"] if self.per_class else []), *self._steps()]

    def _steps(self) -> list[str]:
        many = self.per_class is not None and self.per_class >= 50
        epochs, batch = (10, 32) if many else (12, 16) if self.source in LARGE_NETWORKS else (20, 16)
        if self.target == "ants" and self.per_class is not None:  # of two classes
            batch = 8
        return [f"trainer.epochs={epochs}", f"trainer.batch_size={batch}"]


def tasks(part: str | None = None) -> Iterator[Task]:
    """All tasks, or those of a part."""
    for name, dealt in _DEALT.items():
        if part in (None, name):
            for source, target, sizes in dealt:
                yield from (Task(name, source, target, size) for size in sizes)
