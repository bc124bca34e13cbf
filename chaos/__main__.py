"""Kill, corrupt and crowd the project's runs, and say how many of its promises held.

    python -m chaos                        everything at full count: about an hour and a half on two idle cores
    python -m chaos --only kills flips     parts of it; the other parts' figures stay
    python -m chaos --count 5              a few times each, to see that everything runs

Exit status: 0 where everything was as promised.
"""

import argparse
import os
import platform
import time
from datetime import UTC, datetime
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: runs are forked, and threads are not

from chaos import costs, flips, kills, report, saves, sweeps, together
from chaos.asked import Asked, Row

ROOT = Path(__file__).parents[1]
PARTS = {
    "kills": kills.test,
    "saves": saves.test,
    "flips": flips.test,
    "sweep": sweeps.test,
    "together": together.test,
    "costs": costs.test,
}


def main() -> None:
    """Carry out what the command line asks for, and write each part's figures as soon as it ends."""
    asked = _arguments()
    work = asked.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    found: list[Row] = []
    for part in asked.only or PARTS:
        print(f"{part}:", flush=True)
        began = time.perf_counter()
        rows = PARTS[part](Asked(work, asked.count, asked.seed))
        report.write(asked.docs, part, rows, _circumstances(asked.count, time.perf_counter() - began))
        found += rows
    for row in found:
        print(f"{'reached' if row.reached else 'NOT REACHED'}: {row.test}: {row.figure}")
    raise SystemExit(0 if all(row.reached for row in found) else 1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=tuple(PARTS), default=[], metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--count", type=int, help="at most so many of each; without: as many as were promised")
    parser.add_argument("--seed", type=int, default=0, help="another draw of moments, places and bits")
    parser.add_argument("--work", type=Path, default=ROOT / "outputs" / "chaos", help="where runs land; on a disk")
    parser.add_argument("--docs", type=Path, help="where the page goes: docs/ or, with --count, under --work")
    asked = parser.parse_args()
    asked.docs = asked.docs or (ROOT / "docs" if asked.count is None else asked.work / "docs")
    return asked


def _circumstances(count: int | None, seconds: float) -> dict[str, object]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{next(names, platform.machine())}, {os.cpu_count()} cores",
        "seconds": seconds,
        "count": count,
    }


if __name__ == "__main__":
    main()
