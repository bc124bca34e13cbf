"""Imports run one way, and what need not know torch, Lightning or Hydra does not."""

import ast
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "thawlab"
# From the entry to the ground. A module may import from the rows below its own, and within its row; `ROW` finds it.
ORDER = (
    ("__main__", "entry"),
    ("cli", "find_lr", "find_batch", "check_data", "advise", "searching"),
    ("sweep", "launch", "job", "job_process", "devices", "preloaded", "survey", "study"),
    ("run", "use", "predict", "checkup"),
    (
        "lr_finder",
        "batch_finder",
        "batch_trial",
        "training",
        "shortcuts",
        "processes",
        "events",
        "trainer",
        "callbacks",
        "averaging",
        "prepare",
        "beforehand",
        "advising",
        "advice",
        "rules",
        "similarity",
        "saving",
        "halving",
    ),
    (
        "module",
        "caching",
        "backbones",
        "data",
        "costs",
        "tensorboard",
        "lr_curve",
        "memory",
        "batch_search",
        "quiet",
        "report",
        "show",
        "compose",
        "targets",
        "explain",
        "optimizer",
        "losses",
        "evaluation",
        "tta",
    ),
    (
        "freezing",
        "plateaus",
        "diverging",
        "audit",
        "census",
        "tracing",
        "boundary",
        "schedule",
        "scores",
        "naming",
        "run_files",
        "record",
        "rates",
        "study_record",
        "mistakes",
        "crashes",
        "runlock",
        "json_shapes",
        "schema",
        "files",
        "checkpoints",
        "offline",
        "store",
        "splitting",
    ),
    ("strategy", "stages"),
    ("ordering", "grouping", "places"),
    ("dataflow",),
    ("trust",),
    ("errors", "closed_output", "shares", "stopping", "statuses", "terminal", "aligned", "disk", "words", "typed"),
)
LIGHT = (
    "schema",
    "explain",
    "compose",
    "targets",
    "trust",
    "naming",
    "record",
    "rates",
    "study",
    "study_record",
    "words",
    "run_files",
    "mistakes",
    "json_shapes",
    "files",
    "report",
    "show",
    "errors",
    "strategy",
    "cli",
    "sweep",
    "launch",
    "job",
    "job_process",
    "survey",
    "devices",
    "crashes",
    "runlock",
    "find_lr",
    "find_batch",
    "check_data",
    "advise",
    "advice",
    "rules",
    "store",
    "searching",
)
LIGHTNING = (
    "module",
    "callbacks",
    "averaging",
    "events",
    "trainer",
    "training",
    "shortcuts",
    "data.datamodule",
    "lr_finder",
    "batch_trial",
    "saving",
    "halving",
)
HYDRA = ("schema", "explain", "compose", "cli", "job")


def name_of(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def imports(path, deferred=True):
    """Dotted names that a file imports; without `deferred`, only those that importing it brings along."""
    tree = ast.parse(path.read_text())
    typing_only = {
        inner for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }  # fmt: skip
    later = {
        inner for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.Lambda) for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in typing_only or (not deferred and node in later):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


FILES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def own(imported):
    """The module of this package that an import names, or None."""
    if imported.split(".")[0] != "thawlab":
        return None
    inner = imported.removeprefix("thawlab").removeprefix(".")
    return inner if inner in FILES else inner.rpartition(".")[0]


def row(module):
    (found,) = [i for i, names in enumerate(ORDER) if module.split(".")[0] in names]
    return found


def reached(module):
    """Top-level packages that importing a module brings along."""
    packages, seen, waiting = set(), set(), [module]
    while waiting:
        seen.add(current := waiting.pop())
        for imported in brought_along(FILES[current]):
            inner = own(imported)
            if inner is None:
                packages.add(imported.split(".")[0])
            elif inner and inner not in seen:
                waiting.append(inner)
    return packages


@cache
def brought_along(path):
    return tuple(imports(path, deferred=False))


@pytest.mark.parametrize("module", [name for name in FILES if name])
def test_nothing_points_back_up(module):
    for imported in imports(FILES[module]):
        inner = own(imported)
        if inner:
            assert row(inner) >= row(module), f"{module} imports {inner}"


def test_no_module_imports_itself_through_others():
    def visit(module, path):
        assert module not in path, " -> ".join([*path, module])
        for imported in imports(FILES[module], deferred=False):
            inner = own(imported)
            if inner and inner not in done:
                visit(inner, [*path, module])
        done.add(module)

    done = set()
    for module in FILES:
        visit(module, [])


@pytest.mark.parametrize("module", [name for name in FILES if name.split(".")[0] in LIGHT])
def test_what_only_reads_and_shows_loads_no_torch(module):
    assert {"torch", "timm", "torchvision", "pytorch_lightning"}.isdisjoint(reached(module))


@pytest.mark.parametrize(
    ("package", "known_to"), [("pytorch_lightning", LIGHTNING), ("omegaconf", HYDRA), ("hydra", HYDRA)]
)
def test_few_know(package, known_to):
    knowing = {name for name, path in FILES.items() if any(i.split(".")[0] == package for i in imports(path))}
    assert knowing <= set(known_to)


@pytest.mark.parametrize("module", ["similarity", "similarity.measured", "similarity.scores"])
def test_what_was_measured_is_read_without_torch(module):
    assert {"torch", "timm", "torchvision", "pytorch_lightning"}.isdisjoint(reached(module))


def test_a_source_loads_its_library_when_it_is_used():
    assert {"datasets", "huggingface_hub", "webdataset"}.isdisjoint(reached("data.sources"))


def test_lightning_has_one_name():
    elsewhere = ROOT / "bench" / "by_finetuning_scheduler.py"  # runs in an environment of its own, with the other name
    for folder in ("src", "tests", "scripts", "bench"):
        for path in set((ROOT / folder).rglob("*.py")) - {elsewhere}:
            assert not {"lightning"} & {name.split(".")[0] for name in imports(path)}, path


def test_the_entry_imports_nothing_that_takes_time():
    entry = ROOT / "train.py"
    assert list(imports(entry)) == ["sys", "thawlab.entry.train"]
    assert reached("entry") <= sys.stdlib_module_names
    assert len(entry.read_text().splitlines()) < 20
