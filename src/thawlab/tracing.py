"""Which stage each step of a network's forward pass belongs to, and cutting the network between stages."""

import io
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass

import torch
from timm.layers import get_notrace_functions, get_notrace_modules  # pyright: ignore[reportPrivateImportUsage]
from torch import Tensor, fx, nn
from torchvision.models.feature_extraction import NodePathTracer, create_feature_extractor

from thawlab.errors import UserError
from thawlab.stages import Stage


@dataclass(frozen=True)
class Boundary:
    """The steps whose results pass from the first stages to the later ones, by the tracer's names."""

    nodes: tuple[str, ...]


def boundary(model: nn.Module, stages: Sequence[Stage], kept: int) -> Boundary:
    """Find what the stages after the first `kept` read of the image: each result made of kept stages alone.

    Traced with torch.fx, timm's hard-to-trace modules as leaves (timm.models._features_fx). A step belongs to the
    deepest stage whose parameters it depends on or whose modules it runs in; a step outside all of them, such as a
    functional pooling between two stages, stays with what it reads.
    """
    try:
        tracer = NodePathTracer(**_tracer_options())
        graph = tracer.trace(model)
    except Exception as error:  # torch.fx raises many kinds; each means that this model cannot be cut
        raise _uncuttable(model, f"its forward pass cannot be traced by torch.fx ({error})") from error
    level = _levels(graph, tracer.node_to_qualname, model, stages)
    nodes = [n for n in graph.nodes if 0 <= level[n] < kept and any(level[user] >= kept for user in n.users)]
    return Boundary(tuple(tracer.node_to_qualname[n] for n in nodes))


def _uncuttable(model: nn.Module, fact: str) -> UserError:
    return UserError(
        f"strategy.keep cuts {type(model).__name__}, but {fact}. "
        "Keep all of it (strategy.keep=1.0), or take another backbone."
    )


def _tracer_options() -> dict[str, list]:
    return {"leaf_modules": list(get_notrace_modules()), "autowrap_functions": list(get_notrace_functions())}


def _levels(
    graph: fx.Graph, paths: Mapping[fx.Node, str], model: nn.Module, stages: Sequence[Stage]
) -> dict[fx.Node, int]:
    """The deepest stage that each node depends on; -1 where no image goes in."""
    stage_of = {name: i for i, stage in enumerate(stages) for name in stage.parameters}
    home = {module: i for i, stage in enumerate(stages) for module in stage.modules}
    level: dict[fx.Node, int] = {}
    sees_image: dict[fx.Node, bool] = {}
    for node in graph.nodes:
        inputs = node.all_input_nodes
        sees_image[node] = node.op == "placeholder" or any(sees_image[n] for n in inputs)
        own = max(_home(paths.get(node, ""), home), _own_level(node, model, stage_of, deep=False))
        behind = (level[n] if sees_image[n] else _own_level(n, model, stage_of) for n in inputs)
        level[node] = max([own, *behind]) if sees_image[node] else -1
    return level


def _home(path: str, home: Mapping[str, int]) -> int:
    """The stage whose module a step runs in, by the step's path; -1 outside all."""
    parts = path.split(".")
    prefixes = (".".join(parts[:depth]) for depth in range(len(parts), 0, -1))
    return next((home[prefix] for prefix in prefixes if prefix in home), -1)


def _own_level(node: fx.Node, model: nn.Module, stage_of: Mapping[str, int], deep: bool = True) -> int:
    """The deepest stage whose parameters a node reads; with `deep`, also through its inputs (a position embedding)."""
    own = max((stage_of[name] for name in _parameters_of(node, model, stage_of)), default=-1)
    return max([own, *(_own_level(n, model, stage_of) for n in node.all_input_nodes)]) if deep else own


def _parameters_of(node: fx.Node, model: nn.Module, stage_of: Mapping[str, int]) -> list[str]:
    if node.op == "get_attr":
        return [str(node.target)] if str(node.target) in stage_of else []
    if node.op != "call_module":
        return []
    module = model.get_submodule(str(node.target))
    names = (f"{node.target}.{name}" for name, _ in module.named_parameters())
    return [name for name in names if name in stage_of]


class Truncated(nn.Module):
    """The first stages of a network with a head on what they give.

    `forward`: images (n, channels, height, width) → logits (n, classes). Feature maps are averaged over their
    places, tokens over the sequence; where several tensors cross the cut, their averages are joined. `places` gives
    each of these tensors' name in what `body` returns, and the axes to average over.
    """

    def __init__(self, body: nn.Module, places: Mapping[str, tuple[int, ...]]) -> None:
        super().__init__()
        self.body = body
        self.places = dict(places)
        self.head: nn.Module = nn.Identity()

    def features(self, images: Tensor) -> Tensor:
        """Pooled features (n, width)."""
        found = self.body(images)
        return torch.cat([_pooled(found[name], axes) for name, axes in self.places.items()], dim=1)

    def forward(self, images: Tensor) -> Tensor:  # noqa: D102
        return self.head(self.features(images))

    def get_classifier(self) -> nn.Module:
        """The head, as timm's models name it."""
        return self.head


def _pooled(features: Tensor, axes: tuple[int, ...]) -> Tensor:
    return features.mean(dim=axes) if axes else features  # torch takes no axes for all of them


def truncate(
    model: nn.Module, stages: Sequence[Stage], kept: int, size: int
) -> tuple[Truncated, tuple[Stage, ...], int]:
    """Cut `model` after its first `kept` stages.

    Returns the cut network without its head, its stages (input to last kept), and the width of its features, found by
    running it on an image of `size` pixels. The kept modules are the model's own, not copies. Raises UserError where
    the model cannot be cut: untraceable, not running once traced, or with features whose places cannot be told.

    Which axes of a feature map are places: those that change with the image's size, where the cut network runs on
    half or twice the size; else those that the model's `output_fmt` names; else the one pair of neighbouring axes
    that is square, as images are.
    """
    was_training = model.training
    named = []
    for training in (True, False):  # drop-path and the like make other steps in training
        model.train(training)
        named.append({node: f"out{i}" for i, node in enumerate(boundary(model, stages, kept).nodes)})
    model.train(was_training)
    try:
        body = create_feature_extractor(
            model,
            train_return_nodes=named[0],
            eval_return_nodes=named[1],
            tracer_kwargs=_tracer_options(),  # pyright: ignore[reportArgumentType]
            suppress_diff_warning=True,
        ).eval()
        shapes = _shapes(body, size)
    except Exception as error:  # as in `boundary`; what was traced may take a branch that only training takes
        fact = f"its traced forward pass does not run on images of {size} pixels ({type(error).__name__}: {error})"
        raise _uncuttable(model, fact) from error
    network = Truncated(body, _places(model, body, shapes, size))
    width = sum(shape[({*range(1, len(shape))} - {*network.places[name]}).pop()] for name, shape in shapes.items())
    return network, tuple(_renamed(stage, network) for stage in stages[:kept]), width


def _shapes(body: nn.Module, size: int) -> dict[str, tuple[int, ...]]:
    """The shapes of the features that `body` gives for two images of `size` pixels."""
    example = torch.zeros(2, 3, size, size)
    with torch.no_grad(), redirect_stderr(io.StringIO()):  # torch.fx prints the traced code of whatever fails
        found = body(example)
    return {name: tuple(value.shape) for name, value in found.items() if _is_feature(value, len(example))}


def _places(
    model: nn.Module, body: nn.Module, shapes: Mapping[str, tuple[int, ...]], size: int
) -> dict[str, tuple[int, ...]]:
    """The axes of each tensor to average over; `truncate` states the rule."""
    if not shapes:
        raise _uncuttable(model, "no features pass from the kept stages to the others")
    # Tokens come as (n, tokens, width) everywhere.
    places = {name: (1,) * (len(shape) == 3) for name, shape in shapes.items()}
    maps = {name: shape for name, shape in shapes.items() if len(shape) == 4}
    changing = _changing(body, maps, size) if maps else {}
    named = {"NCHW": (2, 3), "NHWC": (1, 2)}.get(str(getattr(model, "output_fmt", None)))
    for name, shape in maps.items():
        axes = changing.get(name) or named or _square(shape)
        if axes is None:
            sides = "x".join(str(side) for side in shape[1:])
            raise _uncuttable(model, f"of its features ({sides}) it cannot be told which axes are places in the image")
        places[name] = axes
    return places


def _changing(body: nn.Module, maps: Mapping[str, tuple[int, ...]], size: int) -> dict[str, tuple[int, ...]]:
    """The two axes of each feature map that follow the image's size; those without are left out."""
    found: dict[str, tuple[int, ...]] = {}
    for other in (size // 2, size * 2):
        try:
            shapes = _shapes(body, other)
        except Exception:  # many networks run on one size only
            continue
        for name, shape in maps.items():
            there = shapes.get(name, ())
            axes = tuple(i for i, pair in enumerate(zip(shape, there, strict=False)) if pair[0] != pair[1])
            if len(there) == 4 and len(axes) == 2 and name not in found:
                found[name] = axes
        if len(found) == len(maps):
            break
    return found


def _square(shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """The neighbouring axes of one length, where there is one such pair."""
    pairs = [(i, j) for i, j in ((1, 2), (2, 3)) if shape[i] == shape[j]]
    return pairs[0] if len(pairs) == 1 else None


def _is_feature(value: object, batch: int) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.ndim in (2, 3, 4) and len(value) == batch


def _renamed(stage: Stage, network: nn.Module) -> Stage:
    """The stage as it lies in the cut network: under `body`, less what the trace left out."""
    parameters = {name for name, _ in network.named_parameters()}
    modules = {name for name, _ in network.named_modules()}
    return Stage(
        stage.name,
        tuple(f"body.{name}" for name in stage.parameters if f"body.{name}" in parameters),
        tuple(f"body.{name}" for name in stage.modules if f"body.{name}" in modules),
        stage.size,
    )
