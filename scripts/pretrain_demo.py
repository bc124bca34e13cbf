"""Train the demonstration network's weights again, and install them in the package.

    python scripts/pretrain_demo.py

Runs `python train.py experiment=demo_source` (about two minutes on two cores), copies the best weights, and writes
beside them what they cost: weights/demo.json, which studies count as the cost of the source.
"""

import shutil
from pathlib import Path
from typing import Any

from thawlab import compose
from thawlab.files import write_json
from thawlab.record import Record
from thawlab.run import WEIGHTS, run
from thawlab.schema import register

PACKAGED = Path(__file__).resolve().parents[1] / "src" / "thawlab" / "weights" / "demo.safetensors"
RECIPE = "experiment=demo_source"


def main() -> None:
    register()
    compose.register_resolvers()
    (job,) = compose.jobs([RECIPE], multirun=False)
    folder = Path("outputs") / "runs" / job.name
    record = run(job.config, folder)
    if record.status != "finished":
        raise SystemExit(f"{record.status}: {record.reason}")
    shutil.copyfile(folder / WEIGHTS, PACKAGED)
    write_json(PACKAGED.with_suffix(".json"), cost(record))
    accuracy = record.metrics["test/accuracy"]["value"]
    print(f"{PACKAGED.name}: {PACKAGED.stat().st_size:,} bytes, source test accuracy {accuracy:.1%}")


def cost(record: Record) -> dict[str, Any]:
    """What a finished run cost, and what it came to."""
    return {
        "recipe": RECIPE,
        "seconds": record.costs["seconds"]["total"],
        "flops": record.costs["flops"]["train"],
        "images": record.costs["images"],
        "accuracy": record.metrics["test/accuracy"]["value"],
        "device": record.versions["device"],
        "date": (record.ended or "")[:10],
    }


if __name__ == "__main__":
    main()
