"""How long a report of many runs takes, part by part:  python -m bench.report_speed [runs]."""

import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))


def main(runs: int) -> None:
    from planted_records import many

    with tempfile.TemporaryDirectory() as folder:
        many(Path(folder), runs)
        begun, cpu = time.perf_counter(), time.process_time()

        def lap(part: str) -> None:
            print(f"{part:24} {time.perf_counter() - begun:6.1f} s {time.process_time() - cpu:6.1f} s of the processor")

        from thawlab.report import figures
        from thawlab.report.finding import find, to_json
        from thawlab.report.page import page
        from thawlab.report.thumbnails import thumbnails

        lap("imported")
        findings = find(Path(folder))
        lap("read, statistics")
        drawn = figures.draw(findings)
        lap("figures")
        data = to_json(replace(findings, curves={}))
        text = page(findings, drawn, thumbnails(findings.mistakes, Path(folder)))
        lap("page")
        print(f"{runs:,} runs: page {len(text.encode()) / 1e6:.1f} MB, data {len(data.encode()) / 1e6:.1f} MB")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
