"""How long `scripts/advise.py` takes on 2,000 photos, from command to advice:  python -m bench.advise_speed [FOLDER].

FOLDER keeps the photos and weights from one time to the next. Weights are random, which cost what trained ones do. The
second time, what the networks gave is in the cache.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import images
from bench.measuring import ROOT, Bench

IMAGES, VALIDATION = 2000, 80
NETWORKS = {"resnet18": "resnet18", "mobilenetv2": "mobilenetv2_100", "vit_tiny": "vit_tiny_patch16_224"}
ASKED = 60  # seconds


def main(folder: Path) -> None:
    """Print the seconds of each network's first and second time."""
    photos, bench = images.make(folder / "images", IMAGES, VALIDATION), Bench(folder, None)
    for backbone, network in NETWORKS.items():
        words = [f"dataset.root={photos}", f"backbone={backbone}", f"backbone.weights={bench.weights(network)}"]
        with tempfile.TemporaryDirectory(dir=folder) as cache:
            first, again = (_seconds([*words, f"cache.folder={cache}"]) for _ in range(2))
        reached = "reached" if first < ASKED else f"NOT reached: {ASKED} s were asked"
        print(f"{backbone:12} {first:6.1f} s, from the cache {again:6.1f} s, {reached}", flush=True)


def _seconds(words: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "scripts/advise.py", *words], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


if __name__ == "__main__":
    place = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "outputs" / "bench").resolve()
    place.mkdir(parents=True, exist_ok=True)
    main(place)
