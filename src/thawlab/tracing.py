"""Which stage each step of a network's forward pass belongs to, and cutting the network between stages."""

from collections.abc import Mapping, Sequence
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
        raise UserError(
            f"strategy.keep cuts {type(model).__name__}, but its forward pass cannot be traced by torch.fx ({error}). "
            "Keep all of it (strategy.keep=1.0), or take another backbone."
        ) from error
    level = _levels(graph, tracer.node_to_qualname, model, stages)
    nodes = [n for n in graph.nodes if 0 <= level[n] < kept and any(level[user] >= kept for user in n.users)]
    return Boundary(tuple(tracer.node_to_qualname[n] for n in nodes))


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
    places, tokens over the sequence; where several tensors cross the cut, their averages are joined.
    """

    def __init__(self, body: nn.Module, outputs: Sequence[str], channels_last: bool) -> None:
        super().__init__()
        self.body = body
        self.outputs = tuple(outputs)
        self.channels_last = channels_last
        self.head: nn.Module = nn.Identity()

    def features(self, images: Tensor) -> Tensor:
        """Pooled features (n, width)."""
        found = self.body(images)
        return torch.cat([_pooled(found[name], self.channels_last) for name in self.outputs], dim=1)

    def forward(self, images: Tensor) -> Tensor:  # noqa: D102
        return self.head(self.features(images))

    def get_classifier(self) -> nn.Module:
        """The head, as timm's models name it."""
        return self.head


def _pooled(features: Tensor, channels_last: bool) -> Tensor:
    if features.ndim == 4:
        return features.mean(dim=(1, 2) if channels_last else (2, 3))
    return features.mean(dim=1) if features.ndim == 3 else features


def truncate(
    model: nn.Module, stages: Sequence[Stage], kept: int, size: int
) -> tuple[Truncated, tuple[Stage, ...], int]:
    """Cut `model` after its first `kept` stages.

    Returns the cut network without its head, its stages (input to last kept), and the width of its features, found by
    running it on an image of `size` pixels. The kept modules are the model's own, not copies.
    """
    was_training = model.training
    named = []
    for training in (True, False):  # drop-path and the like make other steps in training
        model.train(training)
        named.append({node: f"out{i}" for i, node in enumerate(boundary(model, stages, kept).nodes)})
    model.train(was_training)
    body = create_feature_extractor(
        model,
        train_return_nodes=named[0],
        eval_return_nodes=named[1],
        tracer_kwargs=_tracer_options(),  # pyright: ignore[reportArgumentType]
        suppress_diff_warning=True,
    ).eval()
    example = torch.zeros(2, 3, size, size)
    with torch.no_grad():
        found = body(example)
    outputs = [name for name, value in found.items() if _is_feature(value, len(example))]
    network = Truncated(body, outputs, getattr(model, "output_fmt", None) == "NHWC")
    with torch.no_grad():
        width = network.features(example).shape[1]
    return network, tuple(_renamed(stage, network) for stage in stages[:kept]), width


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
