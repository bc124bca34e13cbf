"""A network's parameters in groups: as its user, the model itself, or the tree of its modules tells."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from timm.models import group_parameters
from torch import nn

from thawlab.errors import UserError

GRAINS = ("coarse", "fine")
HEAD = "head"
Parts = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Grouping:
    """Groups of parameter names below the classifier, and strays: names that no group claims."""

    groups: tuple[tuple[str, ...], ...]
    strays: tuple[str, ...]


def lies_in(name: str, prefixes: Iterable[str]) -> bool:
    """Whether a dotted name is one of `prefixes` or lies below one."""
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


def grouped(model: nn.Module, grain: str, in_head: Iterable[str]) -> Grouping:
    """Group the parameters that are not `in_head`, the classifier's.

    By the model's own `group_matcher` (timm's notion of depth) where it has one that knows this grain, else along its
    children, opened where its `feature_info` names levels inside them. timm files whatever its matcher does not place
    beside the classifier: those are the strays.
    """
    if grain not in GRAINS:
        raise UserError(f"backbone.stages is {grain!r}, but it is one of: {', '.join(GRAINS)}.")
    head = set(in_head)
    groups, strays = _matched(model, grain, head) or _along_children(model, grain, head)
    kept = tuple(rest for group in groups if (rest := tuple(name for name in group if name not in head)))
    rest = tuple(name for name in strays if name not in head)
    return Grouping(kept, rest) if kept else Grouping((rest,) if rest else (), ())


def _matched(model: nn.Module, grain: str, head: set[str]) -> tuple[list[Sequence[str]], list[str]] | None:
    """The groups of the model's own matcher without the one that holds the classifier, whose others are strays."""
    if not hasattr(model, "group_matcher"):
        return None
    try:
        matcher = model.group_matcher(coarse=grain == "coarse")  # pyright: ignore[reportCallIssue]
    except (AssertionError, NotImplementedError):  # RDNet's knows no coarse groups, and says so
        return None
    found: Mapping[object, Sequence[str]] = group_parameters(model, matcher)  # pyright: ignore[reportAssignmentType]
    groups = list(found.values())
    return [g for g in groups if head.isdisjoint(g)], [n for g in groups if not head.isdisjoint(g) for n in g]


def _along_children(model: nn.Module, grain: str, head: set[str]) -> tuple[list[Sequence[str]], list[str]]:
    """One group per child; strays are the module's own parameters, what stands beside the classifier, and after levels.

    When fine, containers are opened once, and the containers of a level as well.
    """
    levels = [level["module"] for level in getattr(model, "feature_info", ()) if isinstance(level, Mapping)]
    prefixes = _opened(model, "", levels)
    last = max((i for i, prefix in enumerate(prefixes) if prefix in levels), default=len(prefixes) - 1)
    prefixes = prefixes[: last + 1]
    if grain == "fine":
        prefixes = [inner for prefix in prefixes for inner in _blocks(model, prefix, prefix in levels)]
    groups: dict[str, list[str]] = {prefix: [] for prefix in prefixes}
    strays: list[str] = []
    for name, _ in model.named_parameters():
        groups.get(next((prefix for prefix in prefixes if lies_in(name, [prefix])), ""), strays).append(name)
    beside = [name for group in groups.values() if not head.isdisjoint(group) for name in group]
    return [group for group in groups.values() if group and head.isdisjoint(group)], strays + beside


def _opened(model: nn.Module, path: str, levels: Sequence[str]) -> list[str]:
    """The children of a module, and in place of a child that has levels inside it, that child's children."""
    found: list[str] = []
    for name, _ in model.get_submodule(path).named_children():
        child = f"{path}.{name}" if path else name
        inside = any(level.startswith(f"{child}.") for level in levels) and child not in levels
        found += _opened(model, child, levels) if inside else [child]
    return found


def _blocks(model: nn.Module, path: str, level: bool) -> list[str]:
    """What a container holds; of a level, its children with containers among them opened."""
    module = model.get_submodule(path)
    if isinstance(module, nn.Sequential | nn.ModuleList):
        return [f"{path}.{name}" for name, _ in module.named_children()]
    if not level:
        return [path]
    return [inner for name, _ in module.named_children() for inner in _blocks(model, f"{path}.{name}", False)]


def grouped_by_parts(model: nn.Module, parts: Parts, in_head: Iterable[str]) -> Grouping:
    """Group the parameters below the classifier as the user's `parts` name them: stage -> modules or parameters.

    Raises UserError where a name is unknown, a parameter is in no part or in two, or a part is called "head".
    """
    head = set(in_head)
    parameters = [name for name, _ in model.named_parameters()]
    known = {*parameters, *(path for path, _ in model.named_modules() if path)}
    owner: dict[str, str] = {}
    for part, names in parts.items():
        _check_part(part, names, known, model)
        for name in (n for n in parameters if lies_in(n, names)):
            if name in head:
                raise UserError(f"backbone.parts.{part} holds {name}, which is the classifier's: leave it out.")
            if owner.setdefault(name, part) != part:
                raise UserError(
                    f"backbone.parts puts {name} into both {owner[name]} and {part}. Name it, or what holds it, once."
                )
    missing = [name for name in parameters if name not in owner and name not in head]
    if missing:
        some = ", ".join(missing[:3]) + ", ..." * (len(missing) > 3)
        raise UserError(
            f"backbone.parts leaves out {len(missing)} of the network's parameters: {some}. "
            "Put each, or a module that holds it, into a part."
        )
    return Grouping(tuple(tuple(n for n in parameters if owner.get(n) == part) for part in parts), ())


def _check_part(part: str, names: Sequence[str], known: set[str], model: nn.Module) -> None:
    if part == HEAD:
        raise UserError("backbone.parts has a part called 'head', but that is the classifier's name. Give another.")
    unknown = next((name for name in names if name not in known), None)
    if unknown is not None:
        children = ", ".join(name for name, _ in model.named_children())
        raise UserError(
            f"backbone.parts.{part} names {unknown!r}, but {type(model).__name__} has no such module or parameter. "
            f"Its children: {children}."
        )
    if not any(lies_in(name, names) for name, _ in model.named_parameters()):
        raise UserError(f"backbone.parts.{part} is {list(names)}, which holds no parameters. Give modules that do.")
