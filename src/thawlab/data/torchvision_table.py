"""Which data sets of torchvision there are, and how each is asked for its splits."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from thawlab.errors import UserError, nearest

Arguments = Mapping[str, Any]


@dataclass(frozen=True)
class How:
    """How a data set is asked for its splits.

    `parts`: of each split the constructor's arguments, once for each piece that it is joined from; without `test` and
    `val` these are drawn. `subsets`: what dataset.subset may be → further arguments (key "" where it is not given), or
    other parts.
    """

    parts: Mapping[str, tuple[Arguments, ...]]
    subsets: Mapping[str, Arguments | Mapping[str, tuple[Arguments, ...]]] = field(default_factory=lambda: {"": {}})


def _split(**names: str) -> dict[str, tuple[Arguments, ...]]:
    return {part: ({"split": name},) for part, name in names.items()}


WHOLE = {"train": ({},)}
BY_TRAIN = {"train": ({"train": True},), "test": ({"train": False},)}
TRAIN_TEST = _split(train="train", test="test")
ALL_THREE = _split(train="train", val="val", test="test")
VALID = _split(train="train", val="valid", test="test")
TRAIN_VAL = _split(train="train", val="val")


def _versions(train: str, val: str | None = None) -> dict[str, tuple[Arguments, ...]]:
    return {"train": ({"version": train},), **({"val": ({"version": val},)} if val else {})}


# A constructor with `train=` gives two parts, one without `train=` and `split=` is whole: inspection tells. What values
# `split=` takes no signature says; these are torchvision's documented ones.
TABLE: Mapping[str, How] = {
    "CelebA": How(VALID),
    "CLEVRClassification": How(TRAIN_VAL),  # its test images have no labels
    "Country211": How(VALID),
    # Ten published ways to deal the same images out.
    "DTD": How(ALL_THREE, {"": {}, **{str(i): {"partition": i} for i in range(1, 11)}}),
    # Its `split` is a choice among six data sets, without default; `train` hides in **kwargs.
    "EMNIST": How(
        BY_TRAIN, {s: {"split": s} for s in ("byclass", "bymerge", "balanced", "letters", "digits", "mnist")}
    ),
    "FER2013": How(TRAIN_TEST),
    "FGVCAircraft": How(
        ALL_THREE, {"": {}, **{s: {"annotation_level": s} for s in ("variant", "family", "manufacturer")}}
    ),
    "Flowers102": How(ALL_THREE),
    "Food101": How(TRAIN_TEST),
    "GTSRB": How(TRAIN_TEST),
    "ImageNet": How(TRAIN_VAL),
    "Imagenette": How(TRAIN_VAL, {"": {}, **{s: {"size": s} for s in ("full", "320px", "160px")}}),
    # Its years are different data sets; those of 2021 have a validation set, the earlier ones are whole.
    "INaturalist": How(
        _versions("2021_train", "2021_valid"),
        {
            "": {},
            "2021": {},
            "2021_mini": _versions("2021_train_mini", "2021_valid"),
            **{year: _versions(year) for year in ("2017", "2018", "2019")},
        },
    ),
    # Its two parts show different characters: two data sets, not training and test.
    "Omniglot": How(
        WHOLE, {"": {}, "background": {"background": True}, "evaluation": {"background": False}}
    ),
    "OxfordIIITPet": How(_split(train="trainval", test="test")),
    "PCAM": How(ALL_THREE),
    # Its test images have no labels. The small images are 256 pixels wide, the challenge adds 6.2 million images.
    "Places365": How(
        _split(train="train-standard", val="val"),
        {
            "": {},
            "small": {"small": True},
            "challenge": _split(train="train-challenge", val="val"),
        },
    ),
    "RenderedSST2": How(ALL_THREE),
    "StanfordCars": How(TRAIN_TEST),
    "STL10": How(TRAIN_TEST),  # its unlabelled images have no use here
    # "extra" are 531,131 easier training images.
    "SVHN": How(TRAIN_TEST, {"": {}, "extra": {**TRAIN_TEST, "train": ({"split": "train"}, {"split": "extra"})}}),
}  # fmt: skip

_FLOW, _STEREO, _VIDEO = "optical flow between pairs of images", "depth from pairs of images", "video"
_DETECTION, _CAPTIONS = "objects and regions within an image", "captions"
LEFT_OUT: Mapping[str, str] = {
    **dict.fromkeys(("FlyingChairs", "FlyingThings3D", "HD1K", "KittiFlow", "Sintel"), _FLOW),
    **dict.fromkeys(
        (
            "CarlaStereo", "CREStereo", "ETH3DStereo", "FallingThingsStereo", "InStereo2k", "Kitti2012Stereo",
            "Kitti2015Stereo", "Middlebury2014Stereo", "SceneFlowStereo", "SintelStereo",
        ),
        _STEREO,
    ),
    **dict.fromkeys(("HMDB51", "Kinetics", "MovingMNIST", "UCF101"), _VIDEO),
    **dict.fromkeys(
        ("Cityscapes", "CocoDetection", "Kitti", "SBDataset", "VOCDetection", "VOCSegmentation", "WIDERFace"),
        _DETECTION,
    ),
    **dict.fromkeys(("CocoCaptions", "Flickr30k", "Flickr8k", "SBU"), _CAPTIONS),
    "DatasetFolder": "a tool, not a data set: dataset=folder reads folders",
    "FakeData": "random noise, from which nothing can be learnt",
    "ImageFolder": "a tool, not a data set: dataset=folder reads folders",
    "LFWPairs": "whether two photos show one person",
    "LFWPeople": "faces whose given training and test photos show different people, most of them once",
    "LSUN": "it is read through a pickle that torchvision leaves in the working folder and trusts unseen; "
    "export the images into class folders for dataset=folder",
    "LSUNClass": "a single class",
    "PhotoTour": "whether two patches show one point",
    "VisionDataset": "a tool, not a data set",
}  # fmt: skip


def parameters(kind: type) -> dict[str, inspect.Parameter]:
    """The constructor's parameters, and where it passes **kwargs on, those of the class above it."""
    found: dict[str, inspect.Parameter] = {}
    for one in kind.__mro__:
        given = inspect.signature(one.__init__).parameters if "__init__" in vars(one) else None
        if given is None:
            continue
        found = {**given, **found}
        if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in given.values()):
            break
    return found


def supported() -> dict[str, type]:
    """Every data set of torchvision that is image classification, by name."""
    from torchvision import datasets

    classes = {name: getattr(datasets, name) for name in datasets.__all__}
    return {
        name: kind
        for name, kind in classes.items()
        if isinstance(kind, type) and name not in LEFT_OUT and (name in TABLE or "split" not in parameters(kind))
    }


def class_of(name: str | None) -> type:
    """The class of torchvision.datasets of this name. Raises UserError where there is none for image classification."""
    known = supported()
    name = str(name)
    if name in known:
        return known[name]
    if name in LEFT_OUT:
        raise UserError(f"dataset.id is {name!r}, which is left out: {LEFT_OUT[name]}.")
    alike = next((one for one in known if one.lower() == name.lower()), name)
    raise UserError(
        f"dataset.id is {name!r}, which is no image classification set of torchvision. {nearest(alike, known)}"
    )


def arguments_of(name: str, subset: str | None) -> dict[str, tuple[Arguments, ...]]:
    """The constructor's arguments for each piece of each split. Raises UserError for an unknown subset."""
    kind = class_of(name)
    how = TABLE.get(name) or How(BY_TRAIN if "train" in parameters(kind) else WHOLE)
    chosen = how.subsets.get(subset or "")
    if chosen is None:
        choices = [choice for choice in how.subsets if choice]
        remedy = f"Give one of: {', '.join(choices)}" if choices else f"torchvision's {name} has none: leave it out"
        raise UserError(f"dataset.subset is {subset!r}, but dataset.id={name} needs another. {remedy}.")
    if "train" in chosen:  # parts of its own
        return dict(chosen)  # pyright: ignore[reportArgumentType]
    return {part: tuple({**piece, **chosen} for piece in pieces) for part, pieces in how.parts.items()}
