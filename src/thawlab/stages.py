"""Any network → ordered stages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import nn

from thawlab.dataflow import CannotRun, Dataflow, above, trace
from thawlab.errors import UserError
from thawlab.grouping import GRAINS, HEAD, Parts, grouped, grouped_by_parts, lies_in
from thawlab.ordering import Groups, check_order, holders, in_forward_order, numbered

__all__ = ["GRAINS", "HEAD", "Stage", "classifier_names", "split_into_stages", "split_traced"]


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
    buffers: tuple[str, ...] = ()  # those outside its modules, of a module that spans stages

    def owns(self, name: str) -> bool:
        """Whether a parameter or buffer of the model, by its name, lies in this stage."""
        return name in self._names or lies_in(name, self.modules)

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset((*self.parameters, *self.buffers))


def split_into_stages(
    model: nn.Module,
    grain: str = "coarse",
    parts: Parts | None = None,
    size: int | None = None,
    channels: int | None = None,
) -> tuple[Stage, ...]:
    """Cut a network into stages, ordered from the input to the classifier, which is exactly the last one.

    Which parameters belong together is told by `parts` (stage -> names of modules or parameters, without the
    classifier), else by the model's `group_matcher`, else by its children. Their order is that of the forward pass
    (`dataflow.trace` on images of `size` pixels and `channels` channels): a stage never feeds an earlier one. A
    parameter that is first read after a later group's joins that group; what timm does not place (it files a
    pretrained final norm beside the fresh head) joins the stage whose results it is applied to. A parameter that no
    forward pass reads stays in its group, and a group of such alone joins the stage before it.

    Raises UserError where parts are wrong, or no image that was tried passes through the network.

    >>> import timm
    >>> [stage.name for stage in split_into_stages(timm.create_model("resnet18"))]
    ['stem', 'layer1', 'layer2', 'layer3', 'layer4', 'head']
    """
    return split_traced(model, _flow(model, size, channels, parts), grain, parts)


def split_traced(
    model: nn.Module, flow: Dataflow | None, grain: str = "coarse", parts: Parts | None = None
) -> tuple[Stage, ...]:
    """As `split_into_stages`, of a network whose forward pass is known already; with `parts` it may be unknown."""
    head = classifier_names(model)
    in_head = [name for name, _ in model.named_parameters() if lies_in(name, head)]
    if parts:
        body, names = [list(group) for group in grouped_by_parts(model, parts, in_head).groups], list(parts)
        if flow is not None:
            check_order(body, names, in_head, flow)
    else:
        assert flow is not None
        found = grouped(model, grain, in_head)
        body = in_forward_order([list(group) for group in found.groups], found.strays, in_head, flow)
        names = _stage_names(body)
    groups = [*body, in_head]
    owners = _owners(model, groups, head, flow)
    buffers = _buffers(model, groups, owners)
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    return tuple(
        Stage(name, tuple(group), tuple(owners[i]), sum(sizes[p] for p in group), tuple(buffers[i]))
        for i, (name, group) in enumerate(zip([*names, HEAD], groups, strict=True))
    )


def _flow(model: nn.Module, size: int | None, channels: int | None, parts: Parts | None) -> Dataflow | None:
    """How the network runs; None where it runs on no image but the user tells its parts."""
    try:
        return trace(model, size, channels)
    except CannotRun as error:
        if parts:
            return None
        raise UserError(
            f"{type(model).__name__} runs on no image that was tried, so that the order of its stages is unknown "
            f"({error}). Give backbone.size, or name its stages from the input on: "
            "'backbone.parts={stem: [conv1], middle: [block1, block2]}'."
        ) from error


def classifier_names(model: nn.Module) -> tuple[str, ...]:
    """Name the classifier's modules: what `get_classifier()` and timm's config name, else the last `nn.Linear`.

    Two-headed (distilled) models name two, and the auxiliary head of VOLO, which predicts the classes as well, stands
    in the config alone. Empty for timm's encoders, which have no classifier. Raises UserError where any other
    network has none.
    """
    found = model.get_classifier() if hasattr(model, "get_classifier") else None  # pyright: ignore[reportCallIssue]
    wanted = {id(m) for m in (found if isinstance(found, tuple | list) else [found]) if m is not None}
    names = [name for name, module in model.named_modules() if name and id(module) in wanted]
    config = getattr(model, "pretrained_cfg", None) or {}
    told = config.get("classifier") or ()
    modules = dict(model.named_modules())
    for name in [told] if isinstance(told, str) else told:
        if name in modules and not lies_in(name, names):
            names.append(name)
    if not names and not (config and getattr(model, "num_classes", None) == 0):
        names = [name for name, module in modules.items() if isinstance(module, nn.Linear)][-1:]
        if not names:
            raise UserError(
                f"{type(model).__name__} has no classifier: no get_classifier() and no nn.Linear. "
                "Give it a linear layer as its last one, or a get_classifier() method that returns it."
            )
    return tuple(names)


def _stage_names(groups: Groups) -> list[str]:
    """Name each stage by the module that holds most of it and nothing of another stage; the first may be "stem"."""
    held_by = holders(numbered(groups))
    names: list[str] = []
    for i, group in enumerate(groups):
        name = _own_module(group, held_by, 1.0 if i == 0 else 0.5) or ("stem" if i == 0 else f"stage{i}")
        names.append(f"{name}_{i}" if name in (*names, HEAD) else name)
    return names


def _own_module(group: Sequence[str], held_by: Mapping[str, set[int]], least: float) -> str:
    for path in above(group[0]):
        share = sum(lies_in(name, [path]) for name in group) / len(group)
        if share >= least and share > 0.5 and len(held_by[path]) == 1:
            return path
    return ""


def _owners(model: nn.Module, groups: Groups, head: Sequence[str], flow: Dataflow | None) -> list[list[str]]:
    """Deal every module to a stage, naming only the topmost that lie wholly in one.

    The classifier is the last one's though it may have no parameters yet: encoders have an identity in its place. Any
    other module without parameters (an activation, a dropout) under a parent that spans stages goes with what it is
    first applied to, or where that is unknown with the module defined before it.
    """
    below = holders({**numbered(groups), **{f"{path}.": len(groups) - 1 for path in head}})
    applied = _applied(groups, flow) if flow is not None else {}
    owners: list[list[str]] = [[] for _ in groups]
    taken: set[str] = set()
    last = 0
    for path, module in model.named_modules():
        held = below.get(path, set())
        if path == "" or len(held) > 1 or not taken.isdisjoint(above(path)):
            continue
        if not held and path not in applied and any(True for _ in module.children()):
            continue  # a list whose modules are applied one by one
        last = next(iter(held), applied.get(path, last))
        owners[last].append(path)
        taken.add(path)
    return owners


def _buffers(model: nn.Module, groups: Groups, owners: Sequence[Sequence[str]]) -> list[list[str]]:
    """Deal the buffers of modules that span stages: to the first stage with a parameter beside or else below them."""
    stage_of = numbered(groups)
    beside: dict[str, int] = {}
    for name, i in stage_of.items():  # in the order of the stages
        beside.setdefault(name.rpartition(".")[0], i)
    below = holders(stage_of)
    dealt: list[list[str]] = [[] for _ in groups]
    taken = {path for paths in owners for path in paths}
    for name, _ in model.named_buffers():
        if taken.isdisjoint(above(name)):
            holder = name.rpartition(".")[0]
            dealt[beside.get(holder, min(below.get(holder, {0})))].append(name)
    return dealt


def _applied(groups: Groups, flow: Dataflow) -> dict[str, int]:
    """The deepest stage behind what each module is first applied to."""
    levels = flow.levels(numbered(groups))
    found: dict[str, int] = {}
    for passage in flow.passages:
        if passage.enters:
            behind = [levels[result[0]] for result in passage.results if result is not None]
            found.setdefault(passage.module, max([0, *behind]))
    return found
