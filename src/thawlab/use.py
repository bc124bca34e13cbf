"""A finished run's network, put to use: image files in, classes out."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import nn

from thawlab.advice import Advice, applied
from thawlab.backbones.build import build
from thawlab.backbones.weights import put, read_weights
from thawlab.data.decode import UnreadableImage, decode, extensions
from thawlab.data.preprocessing import Preprocessing
from thawlab.errors import UserError, in_words
from thawlab.prepare import Specs, specs_anywhere
from thawlab.rates import validation_loss
from thawlab.record import RESULT, Record, read_sweep
from thawlab.tracing import Truncated
from thawlab.trust import check_function

CHOSEN_BY = ("val/mean_average_precision", "val/accuracy")  # the first that a record has
BATCH = 32  # images


@dataclass(frozen=True)
class Prediction:
    """What the network says of one image; `probabilities` are in the order of the model's classes, 0 to 1."""

    path: Path
    labels: tuple[str, ...]  # the likeliest class; of a multilabel task, every class above 0.5
    probabilities: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Model:
    """A trained network with the preprocessing and the classes that it was trained with.

    `network` takes normalised images (n, channels, size, size) and gives logits (n, classes), in evaluation mode.
    """

    network: nn.Module
    preprocessing: Preprocessing
    classes: tuple[str, ...]
    channels: int = 3
    multilabel: bool = False

    def predict(
        self, paths: Iterable[Path | str], left_out: Callable[[Path, str], None] | None = None
    ) -> list[Prediction]:
        """Predict image files, in the order given.

        A file that is no image is left out, and `left_out` called with it and what is wrong with it; where there is no
        `left_out`, UserError is raised.
        """
        decoded = self._decoded(paths, left_out)
        return [found for group in iter(lambda: list(islice(decoded, BATCH)), []) for found in self._predict(group)]

    @torch.inference_mode()
    def _predict(self, images: Sequence[tuple[Path, torch.Tensor]]) -> Iterator[Prediction]:
        logits = self.network(torch.stack([pixels for _, pixels in images])).float()
        probabilities = logits.sigmoid() if self.multilabel else logits.softmax(dim=1)
        chosen = probabilities > 0.5 if self.multilabel else logits == logits.amax(dim=1, keepdim=True)
        for (path, _), row, marks in zip(images, probabilities.tolist(), chosen.tolist(), strict=True):
            labels = tuple(name for name, mark in zip(self.classes, marks, strict=True) if mark)
            yield Prediction(path, labels if self.multilabel else labels[:1], tuple(row))

    def _decoded(
        self, paths: Iterable[Path | str], left_out: Callable[[Path, str], None] | None
    ) -> Iterator[tuple[Path, torch.Tensor]]:
        for path in map(Path, paths):
            try:
                pixels = decode(path, self.channels)
            except (OSError, UnreadableImage) as error:
                fact = f"cannot be read: {error.strerror or error}" if isinstance(error, OSError) else str(error)
                if left_out is None:
                    raise UserError(f"{path} {fact}. Leave it out, or mend it.") from error
                left_out(path, fact)
            else:
                yield path, self.preprocessing(pixels)


def load(folder: Path | str, trust: Sequence[str] = ()) -> Model:
    """The best epoch's network of a finished run; given a sweep's folder, of its best run (`best`).

    Reads the run's folder alone: neither the images nor the source's weights are needed any more. A network that a
    function of the user's built (`backbone.function`) is built by it again only where `trust` or THAWLAB_TRUST covers
    it: whoever sent the folder may have written any function's name into it. Raises UserError where the folder holds
    no finished run.
    """
    folder = Path(folder)
    if not (folder / RESULT).exists():
        folder = best(folder)
    record = Record.read(folder)
    if record.status != "finished":
        raise UserError(f"{folder} is {record.status}, so that it has no network to use. Give a finished run's folder.")
    specs, classes = _told(record, folder / RESULT)
    if specs.backbone.function is not None:
        check_function(specs.backbone.function, str(folder / RESULT), trust)
    state, _ = read_weights(str(folder))
    # Built from random weights, which the run's own replace; its file tells the size, mean and deviation.
    backbone, strategy = replace(specs.backbone, weights=str(folder)), replace(specs.strategy, weights="random")
    channels = specs.dataset.channels
    built = build(backbone, specs.head, strategy, len(classes), specs.optimizer.lr, specs.seed, channels)
    prefix = "body." if isinstance(built.network, Truncated) else ""
    put(built.network, {name: state[name.removeprefix(prefix)] for name in built.network.state_dict()})
    multilabel = specs.dataset.task == "multilabel"
    return Model(built.network.eval(), built.preprocessing, classes, channels, multilabel)


def _told(record: Record, path: Path) -> tuple[Specs, tuple[str, ...]]:
    """What a record tells of its network, and the classes. Raises UserError where it is not as thawlab writes it."""
    try:
        classes = tuple(record.data["classes"])
        if not classes or not all(isinstance(name, str) for name in classes):
            raise TypeError("its classes are no names")
        return specs_anywhere(_as_advised(record)), classes
    except UserError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{path} tells of no network that can be built: {in_words(error)}. Give the folder of another run, or run "
            "it again."
        ) from error


def _as_advised(record: Record) -> dict[str, Any]:
    """The config of a run, with what it was advised in the place of strategy=auto. ValueError where that is missing."""
    auto = record.config["strategy"].get("auto", False)  # older records lack it
    return applied(record.config, Advice.from_plain(record.advice)) if auto else record.config


def best(sweep: Path | str) -> Path:
    """The folder of a sweep's best run on validation images: the first of its `leaders`."""
    return leaders(sweep)[0]


def leaders(sweep: Path | str) -> list[Path]:
    """The folders of a sweep's best runs on validation images: the test images must not choose.

    By accuracy; of several labels each by mean average precision. Few validation images often make several equal: they
    come by validation loss, then by name. Raises UserError where no run is finished, and where they were tested on
    different images: scores on those do not compare.
    """
    found = read_sweep(sweep)
    done = [record for record in found.records if record.status == "finished"]
    if not done:
        raise UserError(f"{sweep} has no finished run to choose from. Run the sweep to its end.")
    tested = {record.data.get("test_fingerprint") for record in done}
    if len(tested) > 1:
        raise UserError(
            f"{sweep} has finished runs on {len(tested)} different sets of images, so that none of them is the best. "
            f"Give a run's folder, such as {found.folder / done[0].name}."
        )
    most = max(map(_score, done))
    equal = [record for record in done if _score(record) == most]
    return [found.folder / one.name for one in sorted(equal, key=lambda one: (validation_loss(one), one.name))]


def _score(record: Record) -> float:
    metric = next(name for name in CHOSEN_BY if name in record.metrics)
    value = record.metrics[metric]["value"]
    return -1.0 if value is None else value  # null: it was NaN


def images_below(place: Path | str, channels: int = 3) -> list[Path]:
    """Every image file in a folder and the folders in it, by name; for other channels than RGB also arrays (.npy).

    A file stands for itself, whatever it is called. Raises UserError where there is nothing of the name.
    """
    if Path(place).is_file():
        return [Path(place)]
    if not Path(place).is_dir():
        raise UserError(f"{place} does not exist. Give a folder of images, or an image file.")
    return sorted(path for path in Path(place).rglob("*") if path.suffix.lower() in extensions(channels))
