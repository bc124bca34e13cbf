"""The command that looks through a data set: the images of the run that the same words would start.

Imports no torch before work starts, so that `--help` answers at once.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from thawlab import compose
from thawlab.errors import UserError, printable
from thawlab.searching import search

if TYPE_CHECKING:
    import numpy as np

    from thawlab.checkup.copies import Pair
    from thawlab.checkup.facts import Facts
    from thawlab.checkup.features import Extractor
    from thawlab.checkup.suspects import Suspect
    from thawlab.data.images import Splits
    from thawlab.data.spec import DatasetSpec

LABELS = ("auto", "backbone", "pixels", "off")
FINDINGS = "findings.csv"
_DESCRIPTION = """\
Look through all images of a data set: unreadable and odd files, copies within and across splits and classes,
near-copies, unlike counts of classes, doubtful labels. The words are those of train.py, as dataset=folder
dataset.root=photos backbone=resnet18. Exit status 0: nothing grave; 1: unreadable files, the same picture in two
splits, or under two labels; 2: the images cannot be checked. Nothing is written unless --out says where."""


def main(argv: Sequence[str] | None = None) -> int:
    """Print a report; exit status 0, 1 (something grave was found), 2 (refused)."""
    return search(_parser(), _check, argv)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=_DESCRIPTION)
    parser.add_argument("--out", type=Path, help="folder for findings.csv, pairs.png and labels.png")
    parser.add_argument(
        "--labels", choices=LABELS, default="auto",
        help="doubt labels by the backbone's frozen features (auto: where its weights are here), by small pictures "
        "(pixels), or not at all (off); default: %(default)s",
    )  # fmt: skip
    return parser


def _check(options: argparse.Namespace) -> int:
    job = compose.only_job(options.words)
    _check_folder(options.out)
    from thawlab.checkup import copies, findings
    from thawlab.prepare import specs_of

    started = time.perf_counter()
    splits = _splits(specs_of(job.config).dataset)
    extractor, by = _extractor(options.labels, job.config, splits)
    images, features = _scanned(splits, extractor)
    pairs = copies.exact(images)
    near, complete = copies.alike(images)
    doubted, by = _doubted(images, features, by)
    counts = findings.counted(splits.classes, images)
    found = [
        *findings.of_unreadable(splits.unreadable),
        *findings.of_pairs([*pairs, *near]),
        *findings.of_suspects(doubted),
        *findings.of_images(images),
        *findings.of_counts(counts),
    ]
    notes = [f"  {by}"]
    if not complete:
        notes.append(
            f"  more than {copies.MOST:,} pairs look the same: these images are alike by nature, or all copies"
        )
    seconds = time.perf_counter() - started
    head = [f"{len(images):,} images of {len(splits.classes)} classes in {seconds:.1f} s", *findings.balance(counts)]
    head += [f"  {note}" for note in splits.notes if not note.startswith("left out")]
    report = findings.Report(tuple(head), tuple(found), tuple(notes))
    print(*report.lines(), sep="\n")
    if options.out is not None:
        _leave(options.out, report, splits, [*pairs, *near], doubted)
    return 1 if report.grave else 0


def _check_folder(out: Path | None) -> None:
    if out is not None and out.exists() and not out.is_dir():
        raise UserError(f"--out is {out}, but that is a file. Give a folder.")


def _splits(spec: "DatasetSpec") -> "Splits":
    """All images, as a run would split them; unreadable ones are left out and named, where the source has such."""
    from thawlab.data.spec import USED_BY
    from thawlab.data.splits import load_splits

    whole = replace(spec, per_class=None, share=None)
    if spec.source in USED_BY["bad_images"]:
        try:
            return load_splits(replace(whole, bad_images="quarantine"), seed=0)
        except UserError:
            pass  # images in memory refuse it; what is wrong with others is said of the whole set below
    return load_splits(whole, seed=0)


def _extractor(labels: str, config: Mapping[str, Any], splits: "Splits") -> tuple["Extractor | None", str]:
    """What computes features, if anything does, and by what labels are doubted, in words."""
    if splits.task == "multilabel":
        return None, "nothing: images of several labels each are not judged"
    if labels == "off":
        return None, "nothing (--labels=off)"
    if labels == "pixels":
        return None, "small pictures (--labels=pixels)"
    from thawlab.checkup.features import Extractor, frozen

    name = config["backbone"]["name"]
    try:
        return Extractor(frozen(config, len(splits.classes))), f"the frozen features of {name}"
    except UserError as error:
        if labels == "backbone":
            raise
        return None, printable(f"small pictures, for the backbone cannot be had here: {error}".splitlines()[0])


def _scanned(splits: "Splits", extractor: "Extractor | None") -> tuple[list["Facts"], "np.ndarray | None"]:
    """Facts of every image, and features float32 (n, d) where there is what computes them."""
    from thawlab.checkup.facts import PARTS, scan

    images: list[Facts] = []
    total = sum(len(getattr(splits, part)) for part in PARTS)
    with tqdm(total=total, disable=None, leave=False) as bar:
        for facts, fitted in scan(splits, extractor.preprocessing if extractor else None):
            images.append(facts)
            if extractor is not None and fitted is not None:
                extractor.add(fitted)
            bar.update()
    return images, extractor.features().numpy() if extractor else None


def _doubted(images: Sequence["Facts"], features: "np.ndarray | None", by: str) -> tuple[Sequence["Suspect"], str]:
    """Doubtful labels, and by what, with how far that can be trusted."""
    if by.startswith("nothing"):
        return [], f"labels are judged by {by}"
    import numpy as np

    from thawlab.checkup.suspects import judged

    seen = np.stack([one.thumbnail.reshape(-1) for one in images]) / 255 if features is None else features
    found = judged(images, seen)
    told = f"{by}, which tell {found.right:.0%} of the images right"
    if found.able:
        return found.suspects, f"labels are judged by {told}"
    why = f"labels are not judged: by {told}, it would be noise"
    return [], f"{why}. Give a backbone that knows such images: backbone=resnet18"


def _leave(out: Path, report: Any, splits: "Splits", pairs: Sequence["Pair"], doubted: Sequence["Suspect"]) -> None:
    from thawlab.checkup import sheet
    from thawlab.checkup.findings import COLUMNS
    from thawlab.files import write_csv

    write_csv(out / FINDINGS, COLUMNS, (finding.row for finding in report.findings), quote_strings=True)
    written = [FINDINGS]
    if pairs:
        sheet.pairs_sheet(splits, sorted(pairs, key=lambda pair: (pair.how != "alike", pair.rank)), out / sheet.PAIRS)
        written.append(sheet.PAIRS)
    if doubted:
        sheet.suspects_sheet(splits, doubted, out / sheet.SUSPECTS)
        written.append(sheet.SUSPECTS)
    print(f"{out}: {', '.join(written)}")
