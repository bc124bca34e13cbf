"""Whether every architecture of timm splits into stages as promised, checked on shapes alone."""

import argparse
import gc
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from multiprocessing import get_all_start_methods, get_context

import timm
import torch
from timm.models import model_entrypoint
from torch import nn

from thawlab.closed_output import ends_with_its_reader
from thawlab.dataflow import Dataflow, trace
from thawlab.grouping import GRAINS
from thawlab.stages import HEAD, Stage, split_traced


@dataclass(frozen=True)
class Finding:
    """What the census found of one architecture."""

    name: str
    problems: tuple[str, ...]
    exceptions: tuple[str, ...]  # promises that the architecture itself makes impossible, with the reason


def architectures(wanted: Sequence[str] = ()) -> list[str]:
    """timm's own architectures, without those that others registered; of these, the ones that a name or glob fits."""
    names = [name for name in timm.list_models() if model_entrypoint(name).__module__.startswith("timm.")]
    return [name for name in names if not wanted or any(fnmatch(name, pattern) for pattern in wanted)]


def examine(name: str) -> Finding:
    """Build an architecture without memory, split it both ways, and hold the stages to what they promise."""
    try:
        with warnings.catch_warnings(), torch.device("meta"):
            warnings.simplefilter("ignore")  # deprecated names
            model = timm.create_model(name)
        flow = trace(model, spend=True)
        found = [_examined(model, flow, grain) for grain in GRAINS]
    except Exception as error:  # a census goes on
        return Finding(name, (f"{type(error).__name__}: {' '.join(str(error).split())[:300]}",), ())
    problems, exceptions = ([line for pair in found for line in pair[i]] for i in (0, 1))
    return Finding(name, tuple(dict.fromkeys(problems)), tuple(dict.fromkeys(exceptions)))


def _examined(model: nn.Module, flow: Dataflow, grain: str) -> tuple[list[str], list[str]]:
    stages = split_traced(model, flow, grain)
    problems, exceptions = list(_partition(model, stages)), []
    if not problems:  # else there is no telling whose parameters feed whose
        out_of_order, exceptions = _order(flow, stages)
        problems = [*_head(model, stages[-1]), *_modules(model, stages), *out_of_order]
        if not stages[-1].modules:
            exceptions.append("no classifier: the head is put on its pooled features")
    return [f"{grain}: {problem}" for problem in problems], exceptions


def _partition(model: nn.Module, stages: Sequence[Stage]) -> Iterator[str]:
    """Each parameter in exactly one stage, each stage with a name of its own."""
    dealt = sorted(name for stage in stages for name in stage.parameters)
    wanted = sorted(name for name, _ in model.named_parameters())
    if dealt != wanted:
        odd = sorted({*dealt} ^ {*wanted}) or [n for n in dealt if dealt.count(n) > 1]
        yield f"parameters in no stage, or in two: {', '.join(odd[:3])}"
    if len({stage.name for stage in stages}) < len(stages):
        yield f"two stages of one name: {', '.join(stage.name for stage in stages)}"
    if len(stages) < 3:
        yield f"only {len(stages) - 1} stages below the head"
    empty = [stage.name for stage in stages[:-1] if not stage.parameters]
    if empty:
        yield f"no parameters in {', '.join(empty)}"


def _head(model: nn.Module, head: Stage) -> Iterator[str]:
    """The last stage is exactly what timm says predicts the classes: by its method, or by its config."""
    wanted = model.get_classifier() if hasattr(model, "get_classifier") else ()  # pyright: ignore[reportCallIssue]
    ids = {id(p) for m in (wanted if isinstance(wanted, tuple | list) else [wanted]) for p in m.parameters()}
    told = getattr(model, "pretrained_cfg", {}).get("classifier") or ()
    for name in [told] if isinstance(told, str) else told:
        if any(path == name for path, _ in model.named_modules()):
            ids |= {id(p) for p in model.get_submodule(name).parameters()}
    found = {id(model.get_parameter(name)) for name in head.parameters}
    if head.name != HEAD or found != ids:
        yield f"the last stage, {head.name}, is not exactly the classifier: {', '.join(head.parameters[:3])}"


def _modules(model: nn.Module, stages: Sequence[Stage]) -> Iterator[str]:
    """Each buffer, and each module without modules inside, in exactly one stage."""
    owner = {path: i for i, stage in enumerate(stages) for path in stage.modules}
    for path, module in model.named_modules():
        parts = path.split(".")
        owners = sum(".".join(parts[:depth]) in owner for depth in range(1, len(parts) + 1))
        if path and not list(module.children()) and owners != 1:
            yield f"module {path} lies in {owners} stages"
    for name, _ in model.named_buffers():
        owners = sum(stage.owns(name) for stage in stages)
        if owners != 1:
            yield f"buffer {name} lies in {owners} stages"


def _order(flow: Dataflow, stages: Sequence[Stage]) -> tuple[list[str], list[str]]:
    """A stage never feeds an earlier one: problems, and what only reads the classifier's results."""
    stage_of = {name: i for i, stage in enumerate(stages) for name in stage.parameters}
    levels = flow.levels(stage_of)
    seen: set[str] = set()
    problems, exceptions = [], []
    for step in flow.steps:
        below = max((levels[i] for i, _ in step.inputs), default=-1)
        for name in (n for n in step.reads if n not in seen):
            seen.add(name)
            if stage_of[name] < below == len(stages) - 1:
                exceptions.append(f"{name} weighs the classifier's results: counted to the stage before it")
            elif stage_of[name] < below:
                problems.append(f"{stages[below].name} feeds {name} of the earlier {stages[stage_of[name]].name}")
    idle = [stage.name for stage in stages[:-1] if seen.isdisjoint(stage.parameters)]
    return problems + [f"nothing of {name} is read in the forward pass" for name in idle], exceptions


@ends_with_its_reader
def main(words: Sequence[str] | None = None) -> int:
    """Print what fails and why; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="architectures, or globs such as 'resnet*'; all where none is given")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default: 2)")
    options = parser.parse_args(words)
    names = architectures(options.names)
    if not names:
        parser.error(f"timm has no architecture called {' or '.join(options.names)}")
    started, failed, excepted = time.monotonic(), 0, 0
    for count, finding in enumerate(_examine_all(names, options.jobs), 1):
        if sys.stderr.isatty():
            print(f"\r{count} of {len(names)} ", end="", file=sys.stderr, flush=True)
        lines = [*finding.problems, *(f"exception: {line}" for line in finding.exceptions)]
        print("".join(f"\n{finding.name}: {line}" for line in lines).lstrip("\n"), end="\n" * bool(lines), flush=True)
        failed, excepted = failed + bool(finding.problems), excepted + bool(finding.exceptions)
    seconds = time.monotonic() - started
    good = len(names) - failed
    print(f"{good} of {len(names)} architectures split as promised, {excepted} with an exception; {seconds:.0f} s")
    return 1 if failed else 0


def _examine_all(names: Sequence[str], jobs: int) -> Iterator[Finding]:
    """Findings in the order of `names`."""
    if jobs == 1:
        yield from map(examine, names)
        return
    # A fork has torch and timm imported already; the collector need not search their objects again and again.
    method = "fork" if "fork" in get_all_start_methods() else "spawn"
    gc.collect()
    gc.freeze()
    try:
        with get_context(method).Pool(jobs, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield from pool.imap(examine, names, chunksize=4)
    finally:
        gc.unfreeze()  # else triton tells at exit of its objects that nobody collected
