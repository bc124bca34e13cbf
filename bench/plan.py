"""Which work is measured, of whom, and how often."""

from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open

from bench.request import Request

PEERS = ("by_fastai", "by_finetuning_scheduler")
NAMES = {
    "ours": "thawlab",
    "by_hand": "hand-written loop",
    "by_lightning": "Lightning",
    "by_finetuning_scheduler": "finetuning-scheduler",
    "by_fastai": "fastai",
}


@dataclass(frozen=True)
class Scale:
    """How much work: `real`, or `quick`, whose figures say nothing but that everything runs."""

    train: int
    val: int
    size: int
    epochs: int  # of `partial`, `full`, and what is compared with many
    long: int  # of `freeze`
    step_images: int  # for seconds per step, which do not depend on how many there are
    factors: tuple[int, ...]
    vit: bool
    context: bool


REAL = Scale(1024, 256, 96, 5, 20, 512, (1, 4, 16), vit=True, context=True)
QUICK = Scale(64, 32, 32, 1, 2, 32, (1, 4), vit=False, context=False)


@dataclass(frozen=True)
class Measure:
    """One contender at one piece of work.

    Measures of one `shares` read the same cache folder: of each round a fresh one or, with `keeps`, one for all rounds.
    """

    name: str
    request: Request
    train: int
    val: int
    most: int = 100  # rounds; fewer where one takes minutes
    shares: str = ""
    keeps: bool = False


def measures(scale: Scale, device: str, cache: str) -> list[Measure]:
    """Everything, in the order of a round: what is compared stands side by side."""
    plan = _Plan(scale, device, cache)
    found = [*plan.freeze(), *plan.partial(), *plan.step(), *plan.defaults(), *plan.scaling()]
    return [*found, *(plan.context() if scale.context else []), *(plan.vit() if scale.vit else [])]


def accuracy(images: Path, weights: Path, size: int, epochs: int, device: str) -> list[Measure]:
    """Everyone at their defaults on `images` (train/, val/ and test/, a folder per class), from trained `weights`.

    The weights' metadata tell architecture, mean and deviation, as `model.safetensors` of a run does.
    """
    with safe_open(weights, "pt") as file:
        told = file.metadata()
    mean, std = (tuple(float(x) for x in told[key].strip("[]").split(",")) for key in ("mean", "std"))
    count = {split: sum(1 for _ in (images / split).glob("*/*")) for split in ("train", "val")}
    classes = sum(1 for one in (images / "train").iterdir() if one.is_dir())
    fixed = {
        "network": told["arch"], "size": size, "epochs": epochs, "device": device, "defaults": True, "mean": mean,
        "std": std, "classes": classes, "images": str(images.resolve()), "weights": str(weights.resolve()),
    }  # fmt: skip
    return [
        Measure(f"accuracy {name}", Request(name, "full", precision=precision, **fixed), count["train"], count["val"])
        for name, precision in (("ours", "auto"), ("by_lightning", "fp32"), ("by_fastai", "fp32"))
    ]


class _Plan:
    def __init__(self, scale: Scale, device: str, cache: str) -> None:
        self.scale, self.device, self.cache = scale, device, cache

    def request(self, contender: str, task: str, epochs: int, **more: object) -> Request:
        fields = {"network": "resnet18", "size": self.scale.size, "device": self.device, "cache": self.cache, **more}
        return Request(contender, task, epochs=epochs, **fields)  # pyright: ignore[reportArgumentType]

    def one(self, name: str, request: Request, **more: object) -> Measure:
        return Measure(name, request, **{"train": self.scale.train, "val": self.scale.val, **more})  # pyright: ignore[reportArgumentType]

    def freeze(self) -> list[Measure]:
        n = self.scale.long
        return [
            self.one("freeze ours", self.request("ours", "freeze", n), shares="freeze"),
            self.one("freeze cached", self.request("by_hand", "freeze", n, way="cached")),
            self.one("freeze again", self.request("ours", "freeze", n, seed=1000, head="mlp"), shares="freeze"),
            self.one("freeze lightning", self.request("by_lightning", "freeze", n), most=2),
        ]

    def partial(self) -> list[Measure]:
        n = self.scale.epochs
        return [
            self.one("partial ours", self.request("ours", "partial", n), most=1, shares="partial", keeps=True),
            self.one("partial again", self.request("ours", "partial", n, seed=1000), shares="partial", keeps=True),
            self.one("partial suffix", self.request("by_hand", "partial", n, way="cached")),
        ]

    def step(self) -> list[Measure]:
        few = {"train": self.scale.step_images, "val": 32}
        again = self.request("ours", "full", 2, seed=1000)
        return [
            self.one("step first", self.request("ours", "full", 2), most=1, shares="step", keeps=True, **few),
            self.one("step ours", again, shares="step", keeps=True, **few),
            self.one("step hand", self.request("by_hand", "full", 2, way="cached"), **few),
        ]

    def defaults(self) -> list[Measure]:
        n = self.scale.epochs
        ours = self.request("ours", "full", n, precision="bf16", defaults=True)
        theirs = [
            self.one(f"full {name}", self.request(f"by_{name}", "full", n, defaults=True), most=3)
            for name in ("lightning", "fastai")
        ]
        return [self.one("full ours", ours, shares="full"), *theirs]

    def scaling(self) -> list[Measure]:
        found = []
        for factor in self.scale.factors:
            many = {"train": factor * self.scale.train, "val": factor * self.scale.val, "most": 1}
            for task, epochs, precision in (("freeze", 2, "fp32"), ("full", 1, "bf16")):
                if task == "full" and factor not in (1, max(self.scale.factors)):
                    continue
                request = self.request("ours", task, epochs, precision=precision)
                found.append(self.one(f"{task} x{factor}", request, shares=f"{task} x{factor}", **many))
        return found

    def context(self) -> list[Measure]:
        """What no target asks for: the same five epochs by everyone, once."""
        n = self.scale.epochs
        everyone = ("ours", "by_hand", "by_lightning", *PEERS)
        found = [
            self.one(f"{task} {n} {name}", self.request(name, task, n), most=1, shares=f"{task} {n}")
            for task, names in (("freeze", everyone), ("partial", ("by_lightning", *PEERS)))
            for name in names
        ]
        rest = (name for name in everyone if name in ("by_hand", "by_finetuning_scheduler"))
        return [*found, *(self.one(f"full {n} {name}", self.request(name, "full", n), most=1) for name in rest)]

    def vit(self) -> list[Measure]:
        which = {"network": "vit_tiny_patch16_224", "size": 224}
        n = self.scale.epochs
        asked = [
            ("freeze", n, "ours", ""), ("freeze", n, "by_hand", "cached"), ("freeze", n, "by_lightning", ""),
            ("partial", 1, "ours", ""), ("partial", 1, "by_hand", "cached"),
            ("full", 1, "ours", ""), ("full", 1, "by_hand", ""),
        ]  # fmt: skip
        found = [
            self.one(f"vit {task} {name}", self.request(name, task, epochs, way=way, **which), most=1, shares="vit")
            for task, epochs, name, way in asked
        ]
        again = self.request("ours", "freeze", n, seed=1000, head="mlp", **which)
        return [found[0], self.one("vit freeze again", again, most=1, shares="vit"), *found[1:]]
