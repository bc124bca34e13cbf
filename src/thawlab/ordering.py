"""Groups of a network's parameters in the order in which its forward pass reads them."""

from collections.abc import Mapping, Sequence
from statistics import median

from thawlab.dataflow import Dataflow, above
from thawlab.errors import UserError

Groups = list[list[str]]


def in_forward_order(groups: Groups, strays: Sequence[str], in_head: Sequence[str], flow: Dataflow) -> Groups:
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
    result = [[n for n in group if n in home and placed.get(n, i) == i] for i, group in enumerate(ordered)]
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
    inside = holders({**home, **placed})
    levels: list[int] = []
    for step, around in zip(flow.steps, flow.around(), strict=True):
        below = max((levels[i] for i, _ in step.inputs), default=-1)
        if any(name not in placed for name in step.reads):
            least = max([below, *(next(iter(inside[path])) for path in around if len(inside.get(path, ())) == 1)])
            for name in step.reads:
                placed.setdefault(name, min(max(home.get(name, 0), least), groups - 1))
        levels.append(max([below, *(placed[name] for name in step.reads)]))
    return placed


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
    return result or [waiting]


def check_order(groups: Groups, names: Sequence[str], in_head: Sequence[str], flow: Dataflow) -> None:
    """Refuse a user's parts where one feeds an earlier one."""
    home = numbered(groups)
    for name, i in _placed(home, in_head, len(groups), flow).items():
        if name in home and home[name] != i:
            raise UserError(
                f"backbone.parts has {names[home[name]]} before {names[i]}, but {name} of {names[home[name]]} is first "
                f"applied to what {names[i]} gives. Order them from the input on, or put {name} into {names[i]}."
            )


def holders(stage_of: Mapping[str, int]) -> dict[str, set[int]]:
    """The stages of which each module holds parameters."""
    found: dict[str, set[int]] = {}
    for name, i in stage_of.items():
        for path in above(name):
            found.setdefault(path, set()).add(i)
    return found


def numbered(groups: Groups) -> dict[str, int]:
    """The group of each parameter."""
    return {name: i for i, group in enumerate(groups) for name in group}
