"""thawlab beside a hand-written PyTorch loop, Lightning, finetuning-scheduler and fastai: seconds, memory, accuracy.

    python -m bench [--rounds 5] [--device cpu|cuda] [--peers] [--quick] [--only WORD ...]

Writes docs/performance.md, docs/data/performance.json and docs/img/performance.png, and prints the targets.
"""

import argparse
import json
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from bench import peers, report
from bench.measuring import ROOT, Bench
from bench.plan import NAMES, PEERS, QUICK, REAL, accuracy, measures


def main() -> None:
    """Measure and report."""
    asked = _arguments()
    if asked.report_only is not None:
        _say(report.write(json.loads(asked.report_only.read_text()), asked.docs))
        return
    asked.work.mkdir(parents=True, exist_ok=True)
    python = peers.make(ROOT / ".bench-venv") if asked.peers else None
    plan = measures(QUICK if asked.quick else REAL, asked.device, asked.cache)
    if asked.accuracy is not None:
        plan += accuracy(*asked.accuracy, asked.accuracy_size, REAL.epochs, asked.device)
    chosen = [one for one in plan if not asked.only or any(word in one.name for word in asked.only)]
    raw: dict[str, Any] = {
        **_circumstances(asked.device), "rounds": asked.rounds, "quick": asked.quick, "cache": asked.cache,
        "not_run": [] if python else [NAMES[name] for name in PEERS], "failed": [], "results": {},
        "accuracy": f"{asked.accuracy[0].name} from {asked.accuracy[1].name}" if asked.accuracy else "",
    }  # fmt: skip
    print(f"{raw['machine']}, {raw['date']}, {len(chosen)} measures, {asked.rounds} rounds")

    def keep(results: dict[str, list[dict[str, Any]]]) -> None:
        raw["results"] = results
        (asked.work / "so_far.json").write_text(json.dumps(raw))

    bench = Bench(asked.work.resolve(), python)
    bench.rounds(chosen, asked.rounds, keep)
    raw["failed"] = sorted(bench.failed)
    _say(report.write(raw, asked.docs))
    if bench.failed:
        raise SystemExit(f"failed: {', '.join(raw['failed'])}")


def _say(rows: list[report.Row]) -> None:
    for row in rows:
        print(row.sentence)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, help="5, or 1 with --quick")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--peers", action="store_true", help="fastai and finetuning-scheduler too, in .bench-venv/")
    parser.add_argument("--quick", action="store_true", help="tiny work, to see that everything runs")
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="measures whose names hold a word")
    parser.add_argument("--cache", choices=("auto", "on", "off"), default="auto", help="thawlab's cache")
    parser.add_argument("--work", type=Path, default=ROOT / "outputs" / "bench", help="where images are made")
    parser.add_argument("--docs", type=Path, help="where the page goes: docs/ or, with --quick, under --work")
    parser.add_argument(
        "--accuracy", nargs=2, type=Path, metavar=("IMAGES", "WEIGHTS"),
        help="compare the defaults' accuracy too, on a folder with train/, val/ and test/, from trained safetensors",
    )  # fmt: skip
    parser.add_argument("--accuracy-size", type=int, default=96, metavar="PIXELS")
    parser.add_argument(
        "--report-only", type=Path, metavar="JSON", help="write the page anew from figures measured before"
    )
    asked = parser.parse_args()
    asked.rounds = asked.rounds or (1 if asked.quick else 5)
    asked.docs = asked.docs or (asked.work / "docs" if asked.quick else ROOT / "docs")
    return asked


def _circumstances(device: str) -> dict[str, Any]:
    names = ("thawlab", "torch", "torchvision", "pytorch-lightning", "timm")
    gpu = f"{torch.cuda.get_device_name()}, " if device == "cuda" else ""
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{gpu}{_processor()}, {os.cpu_count()} cores, {_memory():.0f} GB",
        "load": f"{os.getloadavg()[0]:.1f}",
        "versions": {"python": platform.python_version(), **{name: version(name) for name in names}},
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _memory() -> float:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9


if __name__ == "__main__":
    main()
