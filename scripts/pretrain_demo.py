"""Train the demonstration network's weights again, and install them in the package.

    python scripts/pretrain_demo.py

Runs `python train.py experiment=demo_source` (about three minutes on two cores) and copies the best weights.
"""

import shutil
from pathlib import Path

from thawlab import compose
from thawlab.run import WEIGHTS, run
from thawlab.schema import register

PACKAGED = Path(__file__).resolve().parents[1] / "src" / "thawlab" / "weights" / "demo.safetensors"


def main() -> None:
    register()
    compose.register_resolvers()
    (job,) = compose.jobs(["experiment=demo_source"], multirun=False)
    folder = Path("outputs") / "runs" / job.name
    record = run(job.config, folder)
    if record.status != "finished":
        raise SystemExit(f"{record.status}: {record.reason}")
    shutil.copyfile(folder / WEIGHTS, PACKAGED)
    accuracy = record.metrics["test/accuracy"]["value"]
    print(f"{PACKAGED.name}: {PACKAGED.stat().st_size:,} bytes, source test accuracy {accuracy:.1%}")


if __name__ == "__main__":
    main()
