"""Any network → ordered stages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median

from torch import nn

from thawlab.dataflow import CannotRun, Dataflow, trace
from thawlab.errors import UserError
from thawlab.grouping import GRAINS, HEAD, Parts, grouped, grouped_by_parts, lies_in

__all__ = ["GRAINS", "HEAD", "Stage", "classifier_names", "split_into_stages", "split_traced"]
Groups = list[list[str]]


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
        return name in self._names or lies_in(name, self.modules) or name.rpartition(".")[0] in self._holders

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(self.parameters)

    @cached_property
    def _holders(self) -> frozenset[str]:
        """Modules that hold a parameter of this stage themselves: their buffers are the stage's."""
        return frozenset(name.rpartition(".")[0] for name in self.parameters)


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
            _check_order(body, names, in_head, flow)
    else:
        assert flow is not None
        found = grouped(model, grain, in_head)
        body = _in_forward_order([list(group) for group in found.groups], found.strays, in_head, flow)
        names = _stage_names(body)
    groups = [*body, in_head]
    owners = _owners(model, groups, flow)
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    return tuple(
        Stage(name, tuple(group), tuple(owners[i]), sum(sizes[p] for p in group))
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


def _in_forward_order(groups: Groups, strays: Sequence[str], in_head: Sequence[str], flow: Dataflow) -> Groups:
    """Order the groups, place the strays, and move what runs later than its group; see `split_into_stages`.

    A parameter that is read before anything of the group before its own (EfficientViM's norms of early features,
    grouped with the last) is a stray as well.
    """
    first = _first_reads(flow)
    if not groups:
        return []
    # A few members may run much later (a class token that joins half-way): the median says when a group does.
    last = len(flow.steps)
    ordered = sorted(groups, key=lambda group: median([first[n] for n in group if n in first] or [last]))
    begins = [0, *(min([first[n] for n in group if n in first] or [0]) for group in ordered)]
    home = {n: i for i, group in enumerate(ordered) for n in group if first.get(n, last) >= begins[i]}
    placed = _placed(home, in_head, len(ordered), flow)
    unused = [name for name in strays if name not in placed]
    result = [[n for n in group if placed.get(n, i) == i] for i, group in enumerate(ordered)]
    for name, i in placed.items():
        if i < len(ordered) and home.get(name) != i:
            result[i].append(name)
    result[-1] += unused
    return _without_idle(result, set(first))


def _first_reads(flow: Dataflow) -> dict[str, int]:
    first: dict[str, int] = {}
    for i, step in enumerate(flow.steps):
        for name in step.reads:
            first.setdefault(name, i)
    return first


def _placed(home: Mapping[str, int], in_head: Sequence[str], groups: int, flow: Dataflow) -> dict[str, int]:
    """The group of each parameter that is read.

    That is its own, or a deeper one: that which feeds the step that first reads it, or whose module that step runs
    in (CoaT's blocks share their position encodings). What reads the classifier's results (EfficientViM's weights of
    its heads) counts to the last group below it: the last stage is the classifier alone.
    """
    placed = dict.fromkeys(in_head, groups)
    inside = _holders({**home, **placed})
    levels: list[int] = []
    for step, around in zip(flow.steps, flow.around(), strict=True):
        below = max((levels[i] for i, _ in step.inputs), default=-1)
        if any(name not in placed for name in step.reads):
            least = max([below, *(next(iter(inside[path])) for path in around if len(inside.get(path, ())) == 1)])
            for name in step.reads:
                placed.setdefault(name, min(max(home.get(name, 0), least), groups - 1))
        levels.append(max([below, *(placed[name] for name in step.reads)]))
    return placed


def _holders(stage_of: Mapping[str, int]) -> dict[str, set[int]]:
    """The stages of which each module holds parameters."""
    holders: dict[str, set[int]] = {}
    for name, i in stage_of.items():
        for path in _above(name):
            holders.setdefault(path, set()).add(i)
    return holders


def _numbered(groups: Groups) -> dict[str, int]:
    return {name: i for i, group in enumerate(groups) for name in group}


def _without_idle(groups: Groups, read: set[str]) -> Groups:
    """Join each group of which nothing is read to the one before it, or at the start to the one after it."""
    result: Groups = []
    waiting: list[str] = []
    for group in groups:
        if read.isdisjoint(group):
            (result[-1] if result else waiting).extend(group)
        else:
            result.append(group + waiting)
            waiting = []
    return result


def _check_order(groups: Groups, names: Sequence[str], in_head: Sequence[str], flow: Dataflow) -> None:
    """Refuse a user's parts where one feeds an earlier one."""
    home = _numbered(groups)
    for name, i in _placed(home, in_head, len(groups), flow).items():
        if name in home and home[name] != i:
            raise UserError(
                f"backbone.parts has {names[home[name]]} before {names[i]}, but {name} of {names[home[name]]} is first "
                f"applied to what {names[i]} gives. Order them from the input on, or put {name} into {names[i]}."
            )


def _stage_names(groups: Groups) -> list[str]:
    """Name each stage by the module that holds most of it and nothing of another stage; the first may be "stem"."""
    holders = _holders(_numbered(groups))
    names: list[str] = []
    for i, group in enumerate(groups):
        name = _own_module(group, holders, 1.0 if i == 0 else 0.5) or ("stem" if i == 0 else f"stage{i}")
        names.append(f"{name}_{i}" if name in (*names, HEAD) else name)
    return names


def _own_module(group: Sequence[str], holders: Mapping[str, set[int]], least: float) -> str:
    for path in _above(group[0]):
        share = sum(lies_in(name, [path]) for name in group) / len(group)
        if share >= least and share > 0.5 and len(holders[path]) == 1:
            return path
    return ""


def _above(name: str) -> list[str]:
    """The modules that a parameter or module lies in, the topmost first."""
    path = name.split(".")
    return [".".join(path[:depth]) for depth in range(1, len(path))]


def _owners(model: nn.Module, groups: Groups, flow: Dataflow | None) -> list[list[str]]:
    """Deal every module to a stage, naming only the topmost that lie wholly in one.

    A module without parameters (an activation, a dropout) under a parent that spans stages goes with what it is
    first applied to, or where that is unknown with the module defined before it.
    """
    below = _holders(_numbered(groups))
    applied = _applied(groups, flow) if flow is not None else {}
    owners: list[list[str]] = [[] for _ in groups]
    taken: set[str] = set()
    last = 0
    for path, module in model.named_modules():
        held = below.get(path, set())
        if path == "" or len(held) > 1 or not taken.isdisjoint(_above(path)):
            continue
        if not held and path not in applied and any(True for _ in module.children()):
            continue  # a list whose modules are applied one by one
        last = next(iter(held), applied.get(path, last))
        owners[last].append(path)
        taken.add(path)
    return owners


def _applied(groups: Groups, flow: Dataflow) -> dict[str, int]:
    """The deepest stage behind what each module is first applied to."""
    levels = flow.levels(_numbered(groups))
    found: dict[str, int] = {}
    for passage in flow.passages:
        if passage.enters:
            behind = [levels[result[0]] for result in passage.results if result is not None]
            found.setdefault(passage.module, max([0, *behind]))
    return found
