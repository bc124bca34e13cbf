"""What the frozen part's results depend on besides the image, as a key of the store."""

import hashlib
from collections.abc import Mapping

import timm
import torch
import torchvision

from thawlab.caching.checking import Checked
from thawlab.caching.code import code_of
from thawlab.caching.inside import Inside, buffers, told, values
from thawlab.splitting import CannotSplit
from thawlab.store.key import Key
from thawlab.store.layout import Layout

FORMAT = "2"  # raised when the same inputs would give other rows


def key_of(inside: Inside, checked: Checked, layout: Layout, known: Mapping[str, str]) -> Key:
    """A key of the first part: its tensors, graph, attributes and code; `known` is what only the caller knows.

    Not in it, and so to be left alone between two runs: attributes that change by running, what a class or a file
    keeps (a global that another file sets), and what lies in objects of a user's own. Raises CannotSplit where a
    buffer changes by running: what the network gives is then no function of the image alone.
    """
    modules = inside.modules(checked.ran)
    again = inside.modules(checked.again)
    kept = buffers(modules)
    if moved := [name for name, text in buffers(again).items() if kept.get(name) != text]:
        raise CannotSplit(f"its buffer {moved[0]} changes whenever it runs")
    found = values(modules)
    steady = {name: text for name, text in values(again).items() if found.get(name) == text}
    parameters = {name: told(tensor.data) for name, tensor in inside.parameters(checked.ran, modules).items()}
    return Key(
        {
            "kind": "boundary",
            "format": FORMAT,
            "weights": _over({**parameters, **kept}),
            "graph": _graph(inside, {path: f"{type(m).__qualname__} {m.extra_repr()}" for path, m in modules.items()}),
            "attributes": _over(steady),
            "code": code_of(modules.values()),
            "layout": repr(layout),
            "versions": f"torch {torch.__version__}, torchvision {torchvision.__version__}, timm {timm.__version__}",
            **known,
        }
    )


def _graph(inside: Inside, modules: Mapping[str, str]) -> str:
    """Over the steps, and the modules in words: `extra_repr` tells strides and epsilons, which steps do not."""
    cut = inside.cut
    pairs = zip(cut.before, cut.flow.steps, strict=True)
    steps = {str(i): f"{step.kind} {step.inputs} {step.reads}" for i, (before, step) in enumerate(pairs) if before}
    named = {f"module {path}": words for path, words in modules.items()}
    return _over({**steps, **named, "results": repr(cut.boundary.results)})


def _over(texts: Mapping[str, str]) -> str:
    return hashlib.sha256("".join(f"{name!r} {text}\n" for name, text in sorted(texts.items())).encode()).hexdigest()
