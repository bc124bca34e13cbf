"""The command that looks for a learning rate: a range test of the run that the same words would start.

Imports no torch before work starts, so that `--help` answers at once.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from thawlab import compose
from thawlab.cli import check_outputs
from thawlab.searching import search

if TYPE_CHECKING:
    from thawlab.lr_curve import Curve
    from thawlab.strategy import Plan

FOLDER = Path("outputs") / "find_lr"
_DESCRIPTION = """\
Find a learning rate: train for up to 100 steps while the rate rises from step to step, and look where the loss
falls and where it explodes. The words are those of train.py, as strategy=full backbone=resnet18. The ratios between
the stages' rates stay those of the plan. Nothing of it is kept but a curve under outputs/find_lr/."""


def main(argv: Sequence[str] | None = None) -> int:
    """Print what a range test suggests; exit status 0, 1 (it suggests nothing), 2 (refused)."""
    return search(_parser(), _find, argv)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=_DESCRIPTION)
    parser.add_argument("--steps", type=int, default=100, help="optimizer steps (default: %(default)s)")
    parser.add_argument("--start", type=float, default=1e-7, help="first optimizer.lr (default: %(default)s)")
    parser.add_argument("--end", type=float, default=10.0, help="last optimizer.lr (default: %(default)s)")
    parser.add_argument("--epoch", type=int, default=0, help="train the stages of this epoch (default: %(default)s)")
    return parser


def _find(options: argparse.Namespace) -> int:
    job = compose.only_job(options.words)
    check_outputs(FOLDER)
    from thawlab.advice import applied
    from thawlab.lr_curve import leave_files
    from thawlab.lr_finder import RangeSpec, range_test
    from thawlab.prepare import prepare

    spec = RangeSpec(options.start, options.end, options.steps, options.epoch)
    prepared = prepare(job.config)
    plan, lr = prepared.built.plan, prepared.specs.optimizer.lr
    training = [row.stage for row in plan.kept if row.stage in plan.training(spec.epoch)]
    print(f"{job.name}\n  {spec.steps} steps, optimizer.lr from {spec.start:g} to {spec.end:g}; ", end="")
    print(f"training: {', '.join(training)}", flush=True)
    with tqdm(total=spec.steps, disable=None, leave=False) as bar:
        curve = range_test(prepared, spec, lambda seen: _progress(bar, seen))
    leave_files(curve, {stage: plan.row(stage).rate / lr for stage in training}, FOLDER / job.name)
    advised = f"{prepared.advice.strategy_words} " if prepared.advice is not None else ""
    return _tell(curve, plan, applied(job.config, prepared.advice), FOLDER / job.name, advised)


def _progress(bar: tqdm, curve: "Curve") -> None:
    """A bar in a terminal, four lines elsewhere."""
    bar.update()
    done = len(curve.losses)
    if bar.disable and done % max(1, curve.planned // 4) == 0:
        print(f"  step {done}/{curve.planned}  optimizer.lr {curve.rates[-1]:.1e}  loss {curve.smoothed[-1]:.3f}")


def _tell(curve: "Curve", plan: "Plan", config: Mapping[str, Any], folder: Path, advised: str = "") -> int:
    from thawlab import show
    from thawlab.lr_curve import CURVE, FIGURE, recommended

    found = curve.suggestions()
    if found:
        best = recommended(found)
        rows = [("stage", "trains", *(suggestion.rule for suggestion in found))]
        for row in plan.kept:
            rates = [f"{row.rate * suggestion.rate / config['optimizer']['lr']:.2e}" for suggestion in found]
            rows.append((row.stage, "yes" if row.trains else "never", *(rates if row.trains else ["-"] * len(found))))
        print(f"\n  Peak rates by each rule\n{show.plan(rows)}")
        print("\n  Recommended: the valley, which rests on the whole descent; the other rules each rest on one point.")
        print(f"  {advised}{words_for(best.rate, config)}\n")
    else:
        reason = "it exploded too early" if curve.exploded else "it hardly fell"
        print(f"\n  No rate is suggested: the loss never showed a descent ({reason}).")
        print(
            "  Look at the curve; try --start=1e-9 where it exploded, --steps=300 or larger batches where it is noise."
        )
    print(f"  Curve: {folder / FIGURE}, {folder / CURVE}")
    return 0 if found else 1


def words_for(rate: float, config: Mapping[str, Any]) -> str:
    """What to add to train.py's words. Rates that the strategy writes out do not follow `optimizer.lr`: scaled too."""
    factor = rate / config["optimizer"]["lr"]
    written = [f"strategy.rates.{stage}={value * factor:.2g}" for stage, value in config["strategy"]["rates"].items()]
    return " ".join([f"optimizer.lr={rate:.2g}", *written])
