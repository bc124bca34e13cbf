"""The command that measures source and images and says which strategy to take, without training anything.

Imports no torch before work starts, so that `--help` answers at once.
"""

import argparse
import shlex
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from thawlab import compose
from thawlab.aligned import aligned
from thawlab.errors import UserError, visible
from thawlab.searching import search
from thawlab.typed import typed

if TYPE_CHECKING:
    from thawlab.advice import Advice
    from thawlab.similarity.measured import Similarity

_DESCRIPTION = """\
Measure how near the backbone's source is to the training images, name the case of the four, and say which strategy
and rate to begin with, and what else was close. The words are those of train.py, as dataset.root=photos
backbone=resnet18; a dataset.root alone is a folder of class folders. Nothing is trained."""
_COLUMNS = ("stage", "width", "linear probe %", "nearest %", "LogME", "H-score", "norm distance")


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures and the advice; exit status 0, 2 (refused)."""
    return search(_parser(), _advise, argv)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=_DESCRIPTION)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures and the advice there as well")
    return parser


def _advise(options: argparse.Namespace) -> int:
    words = for_images(options.words)
    job = compose.only_job([*words, "strategy=auto"])
    _check_file(options.json)
    from thawlab import advising
    from thawlab.beforehand import source_hint
    from thawlab.files import write_json
    from thawlab.prepare import read, row_store, specs_of

    specs = specs_of(job.config)
    advising.check_free(specs.strategy)
    splits = read(specs)
    advice = advising.advised(job.config, splits, row_store(specs.cache))
    print(visible("\n".join(_page(advice, [*splits.notes, *source_hint(job.config)], words))))
    if options.json is not None:
        write_json(options.json, advice.to_plain())
        print(f"\n  {options.json}")
    return 0


def for_images(words: Sequence[str]) -> list[str]:
    """The words without what the advice takes the place of; a folder of images needs no dataset=folder."""
    chosen = [word for word in words if word.partition("=")[0] == "strategy" and word != "strategy=auto"]
    if chosen:
        raise UserError(f"{chosen[0]} chooses a strategy, but this command says which to choose. Leave it out.")
    kept = [word for word in words if word != "strategy=auto"]
    keys = {word.partition("=")[0] for word in kept}
    return ["dataset=folder", *kept] if "dataset.root" in keys and "dataset" not in keys else kept


def _check_file(file: Path | None) -> None:
    if file is not None and (file.is_dir() or not file.absolute().parent.is_dir()):
        raise UserError(f"--json is {file}, which is a folder, or in none. Give a file in a folder that is there.")


def _page(advice: "Advice", notes: Sequence[str], words: Sequence[str]) -> list[str]:
    """What the terminal shows, a line each."""
    kept = [word for word in words if not word.startswith("optimizer.lr=")]
    # An installed copy has no train.py.
    program = f"{typed('python')} train.py" if Path("train.py").exists() else typed("thawlab")
    start = f"{program} {shlex.join(kept)}".rstrip()
    near = [f"  {one.why}:\n    {start} {one.words}" for one in advice.close]
    return [
        *_figures(advice.similarity),
        *(f"  {note}" for note in (*notes, *advice.similarity.notes)),
        "",
        f"  {advice.title[0].upper()}{advice.title[1:]}",
        *textwrap.wrap(advice.reason, 118, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False),
        "",
        f"  {start} {advice.words}",
        *(["", "  Close:", *near] if near else ["", "  Nothing else was close."]),
    ]


def _figures(similarity: "Similarity") -> list[str]:
    """The table, stage by stage, and what the features have to beat."""
    rows: list[tuple[str, ...]] = [_COLUMNS]
    for one in similarity.stages:
        shares = [f"{100 * share:.1f}" for share in (one.linear_probe, one.nearest_neighbour)]
        distance = "-" if one.norm_distance is None else f"{one.norm_distance:.3f}"
        rows.append((one.stage, str(one.width), *shares, f"{one.log_evidence:.3f}", f"{one.h_score:.2f}", distance))
    beaten = [f"small pictures {similarity.pixels_probe:.1%}"]
    if similarity.random_probe is not None:
        beaten.append(f"the last stage with random weights {similarity.random_probe:.1%}")
    beaten.append(f"the commonest class {similarity.chance:.1%}")
    leep = [] if similarity.leep is None else [f"  LEEP {similarity.leep:.3f}"]
    count = f"{similarity.images:,} training images of {similarity.classes} classes, {similarity.seconds:.1f} s"
    table = [f"  {line}" for line in aligned(rows)]
    return [f"  {count}", "", *table, f"  to beat: {', '.join(beaten)}", *leep]
