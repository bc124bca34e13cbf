"""Any network → ordered stages."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from timm.models import group_parameters
from torch import nn

from thawlab.errors import UserError

GRAINS = ("coarse", "fine")
HEAD = "head"


@dataclass(frozen=True)
class Stage:
    """One slice of a network's depth.

    `parameters` are names as in `model.named_parameters()`; `modules` are names of the topmost modules that lie
    wholly in the stage, so that setting their mode sets the mode of everything in it, dropout included.
    """

    name: str
    parameters: tuple[str, ...]
    modules: tuple[str, ...]
    size: int  # numbers in its parameters

    def owns(self, name: str) -> bool:
        """Whether a parameter or buffer of the model, by its name, lies in this stage."""
        if name in self.parameters or _lies_in(name, self.modules):
            return True
        return name.rpartition(".")[0] in {parameter.rpartition(".")[0] for parameter in self.parameters}


def split_into_stages(model: nn.Module, grain: str = "coarse") -> tuple[Stage, ...]:
    """Cut a network into stages, ordered from the input to the classifier.

    The cut of a timm model is timm's own (`group_matcher`), with one correction: timm files every parameter that
    it cannot place beside the classifier, so a pretrained final norm would pass for a fresh head. Here the last
    stage is exactly the classifier; strays join the stage before it. Any other module is cut along its children.

    >>> import timm
    >>> [stage.name for stage in split_into_stages(timm.create_model("resnet18"))]
    ['stem', 'layer1', 'layer2', 'layer3', 'layer4', 'head']
    """
    head = classifier_names(model)
    in_head = [name for name, _ in model.named_parameters() if _lies_in(name, head)]
    body = _without_head(_groups(model, grain), set(in_head))
    names = [*_stage_names(body), HEAD]
    owners = _owners(model, [*body, in_head])
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    return tuple(
        Stage(name, tuple(group), tuple(owners[i]), sum(sizes[p] for p in group))
        for i, (name, group) in enumerate(zip(names, [*body, in_head], strict=True))
    )


def classifier_names(model: nn.Module) -> tuple[str, ...]:
    """Name the classifier's modules: what `get_classifier()` returns, else the last `nn.Linear`.

    Two-headed (distilled) models name two. Raises UserError where there is none.
    """
    found = model.get_classifier() if hasattr(model, "get_classifier") else None  # pyright: ignore[reportCallIssue]
    wanted = {id(m) for m in (found if isinstance(found, tuple | list) else [found]) if m is not None}
    names = tuple(name for name, module in model.named_modules() if name and id(module) in wanted)
    if not names:
        linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
        names = tuple(linear[-1:])
    if not names:
        raise UserError(
            f"{type(model).__name__} has no classifier: no get_classifier() and no nn.Linear. "
            "Give it a linear layer as its last one, or a get_classifier() method that returns it."
        )
    return names


def _groups(model: nn.Module, grain: str) -> list[list[str]]:
    if grain not in GRAINS:
        raise UserError(f"backbone.stages is {grain!r}, but it is one of: {', '.join(GRAINS)}.")
    if not hasattr(model, "group_matcher"):
        return _groups_by_children(model, grain)
    matcher = model.group_matcher(coarse=grain == "coarse")  # pyright: ignore[reportCallIssue]
    grouped: Mapping[object, Sequence[str]] = group_parameters(model, matcher)  # pyright: ignore[reportAssignmentType]
    return [list(names) for names in grouped.values()]


def _without_head(groups: Sequence[Sequence[str]], in_head: set[str]) -> list[list[str]]:
    body: list[list[str]] = []
    for group in groups:
        rest = [name for name in group if name not in in_head]
        if body and len(rest) < len(group):
            body[-1] += rest
        elif rest:
            body.append(rest)
    return body


def _groups_by_children(model: nn.Module, grain: str) -> list[list[str]]:
    """One group per child that has parameters; containers are opened once when fine."""
    prefixes: list[str] = []
    for name, child in model.named_children():
        opens = grain == "fine" and isinstance(child, nn.Sequential | nn.ModuleList)
        prefixes += [f"{name}.{inner}" for inner, _ in child.named_children()] if opens else [name]
    names = [name for name, _ in model.named_parameters()]
    own = [name for name in names if "." not in name]
    return [own, *([n for n in names if _lies_in(n, [prefix])] for prefix in prefixes)]


def _lies_in(name: str, prefixes: Iterable[str]) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


def _stage_names(groups: Sequence[Sequence[str]]) -> list[str]:
    """Name each stage by the module that holds most of it and nothing of another stage; the first may be "stem"."""
    names: list[str] = []
    for i, group in enumerate(groups):
        others = [name for j, other in enumerate(groups) if j != i for name in other]
        name = _own_module(group, others, 1.0 if i == 0 else 0.5) or ("stem" if i == 0 else f"stage{i}")
        names.append(f"{name}_{i}" if name in (*names, HEAD) else name)
    return names


def _own_module(group: Sequence[str], others: Sequence[str], least: float) -> str:
    path = group[0].split(".")[:-1]
    for depth in range(1, len(path) + 1):
        module = ".".join(path[:depth])
        share = sum(_lies_in(name, [module]) for name in group) / len(group)
        if share >= least and share > 0.5 and not any(_lies_in(name, [module]) for name in others):
            return module
    return ""


def _owners(model: nn.Module, groups: Sequence[Sequence[str]]) -> list[list[str]]:
    """Deal every module to a stage, naming only the topmost that lie wholly in one.

    A module without parameters (an activation, a dropout) under a parent that spans stages goes with the module
    defined before it.
    """
    stage_of = {name: i for i, group in enumerate(groups) for name in group}
    below = {
        path: {stage_of[n] for n in stage_of if path == "" or n.startswith(f"{path}.")}
        for path, _ in model.named_modules()
    }
    owners: list[list[str]] = [[] for _ in groups]
    taken: set[str] = set()
    last = 0
    for path, _ in model.named_modules():
        if _lies_in(path, taken) or len(below[path]) > 1 or path == "":
            continue
        last = next(iter(below[path]), last)
        owners[last].append(path)
        taken.add(path)
    return owners
