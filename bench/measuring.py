"""Runs measures in processes of their own, in turn, and keeps their figures."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench import images
from bench.plan import NAMES, PEERS, Measure

ROOT = Path(__file__).resolve().parents[1]
Figures = dict[str, Any]
PAUSE = 0.05  # seconds between two looks at a process's memory


class Failed(Exception):
    """A contender did not finish its work."""


@dataclass(frozen=True)
class Bench:
    """Where measurements are made: `folder` keeps images and weights from one time to the next."""

    folder: Path
    peers: Path | None  # the Python of fastai and finetuning-scheduler; None: they are not run
    failed: dict[str, str] = field(default_factory=dict)  # measure -> what its process said last

    def rounds(
        self, measures: Sequence[Measure], count: int, keep: Callable[[dict[str, list[Figures]]], None]
    ) -> dict[str, list[Figures]]:
        """Each measure's figures, a round each; `keep` is called after every measurement.

        A contender that fails is told of in `failed` and not tried again: the others' minutes are not lost.
        """
        todo = [one for one in measures if one.request.contender not in PEERS or self.peers is not None]
        found: dict[str, list[Figures]] = {one.name: [] for one in todo}
        with tempfile.TemporaryDirectory(dir=self.folder) as kept:
            for number in range(count):
                with tempfile.TemporaryDirectory(dir=self.folder) as fresh:
                    for one in (one for one in todo if number < one.most and one.name not in self.failed):
                        try:
                            figures = self.measure(one, number, Path(kept if one.keeps else fresh))
                        except Failed as error:
                            self.failed[one.name] = str(error)
                            print(f"  {number + 1}/{count}  {one.name:32} failed: {error}", flush=True)
                            continue
                        found[one.name].append(figures)
                        keep(found)
                        print(f"  {number + 1}/{count}  {one.name:32} {_said(figures)}", flush=True)
        return found

    def measure(self, measure: Measure, number: int, caches: Path) -> Figures:
        """The figures of one measurement; raises Failed with the end of what the process said."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        request = replace(
            measure.request,
            seed=measure.request.seed + number,
            images=measure.request.images or str(images.make(self.folder / "images", measure.train, measure.val)),
            weights=measure.request.weights or str(self.weights(measure.request.network)),
            folder=str(folder),
            cache_folder=str(caches / (measure.shares or measure.name).replace(" ", "-")),
        )
        request.write(folder / "request.json")
        python = str(self.peers) if request.contender in PEERS else sys.executable
        start = time.perf_counter()
        memory = _watched(
            [python, "-m", "bench.child", str(folder / "request.json"), str(folder / "answer.json")], folder
        )
        seconds = time.perf_counter() - start
        answer = json.loads((folder / "answer.json").read_text())
        shutil.rmtree(folder)
        names = {"contender": NAMES[request.contender], "task": request.task, "network": request.network}
        sizes = {"size": request.size, "images": measure.train, "epochs": request.epochs, "seed": request.seed}
        return {
            **names,
            **sizes,
            "precision": request.precision,
            "way": request.way,
            "process": seconds,
            **memory,
            **answer,
        }

    def weights(self, network: str) -> Path:
        """Random weights, which cost what trained ones do."""
        path = self.folder / f"{network}.safetensors"
        if not path.is_file():
            import timm
            import torch
            from safetensors.torch import save_file

            torch.manual_seed(0)
            save_file(timm.create_model(network).state_dict(), path)
        return path


def _watched(command: list[str], folder: Path) -> dict[str, int]:
    """Run a command to its end; the peak of its resident memory, in bytes.

    Looked at from outside all the while: a run of ours measures its own peak anew when it begins to train, which
    makes the system forget the one before.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(ROOT)))}
    with (folder / "said").open("w+") as said:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=said, stderr=said)
        peak = 0
        while process.poll() is None:
            peak = max(peak, _high_water(process.pid))
            time.sleep(PAUSE)
        if process.returncode:
            said.seek(0)
            raise Failed(f"{' '.join(command)} ended with {process.returncode}:\n{said.read()[-3000:]}")
    return {"peak": peak}


def _high_water(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:  # it has just ended
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)


def _said(figures: Figures) -> str:
    return f"{figures['wall']:8.2f} s  {figures['peak'] / 1e6:7.0f} MB  {figures['accuracy']:6.1%}"
