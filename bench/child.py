"""One measurement, in a process of its own: python -m bench.child REQUEST.json ANSWER.json

Runs under the project's Python or, for other libraries, under that of their own environment.
"""

import gc
import importlib
import json
import resource
import sys
import time
from dataclasses import asdict
from pathlib import Path

import torch
import torch._dynamo  # what torch imports at an optimizer's first step, for every contender

from bench.request import Request


def main(request_path: Path, answer_path: Path) -> None:
    """Do what a request asks and write what it took; the clock runs from after the imports to the last validation."""
    request = Request.read(request_path)
    work = importlib.import_module(f"bench.{request.contender}").work
    if request.device == "cuda":
        torch.zeros(1, device="cuda")
    resident = _status("VmRSS")
    cpu, start = _cpu_seconds(), time.perf_counter()
    outcome = work(request)
    if request.device == "cuda":
        torch.cuda.synchronize()
    wall = time.perf_counter() - start
    gc.collect()  # ends the loaders' workers, whose seconds count from then on
    answer = {
        "wall": wall,
        "cpu": _cpu_seconds() - cpu,
        "resident_before": resident,
        "device_peak": torch.cuda.max_memory_allocated() if request.device == "cuda" else None,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        **asdict(outcome),
    }
    answer_path.write_text(json.dumps(answer))


def _cpu_seconds() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
