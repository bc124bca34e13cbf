"""What was found about a data set → one list of findings, the grave ones first, as a table and as text."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from thawlab.checkup.copies import Pair
from thawlab.checkup.facts import PARTS, Facts
from thawlab.checkup.suspects import Suspect
from thawlab.errors import printable

SHOWN = 5  # findings of a kind in the terminal
SMALLEST = 16  # pixels of the shorter side: below, there is hardly a picture
WHERE_SMALL_IS_USUAL = 2  # a whole set of small pictures is no finding: the side must be so many times below the median
LONGEST = 5.0  # times the shorter side: beyond, the centre crop shows little of the picture
FEW = 5  # images of a class in a split: below, its score there says little
# Kind → what is said of so many; a grave one makes the command fail.
GRAVE: Mapping[str, str] = {
    "unreadable": "files cannot be read as images",
    "conflict": "pairs are the same picture with different labels",
    "leak": "pairs are the same picture in two splits",
    "near leak": "pairs look the same and lie in two splits",
}
KINDS: Mapping[str, str] = {
    **GRAVE,
    "near conflict": "pairs look the same and are labelled differently",
    "duplicate": "pairs are the same file twice in one split",
    "same pixels": "pairs are other files of the same pixels in one split",
    "near duplicate": "pairs look the same within one split",
    "label": "labels are doubtful: another class is likelier (confident learning)",
    "several pictures": "files hold several pictures, of which the first is used",
    "extension": "files are of another format than their names say",
    "small": f"images are less than {SMALLEST} pixels wide or high, and small for this set",
    "long": f"images are more than {LONGEST:g} times as long as wide",
    "grey": "images are grey among colour",
    "colour": "images are coloured among grey",
    "few": f"times a class has fewer than {FEW} images in a split",
}
COLUMNS = ("kind", "split", "name", "label", "other_split", "other_name", "other_label", "detail")


@dataclass(frozen=True)
class Finding:
    """One row of findings.csv; `kind` is a key of KINDS."""

    kind: str
    part: str = ""
    name: str = ""
    label: str = ""
    other_part: str = ""
    other_name: str = ""
    other_label: str = ""
    detail: str = ""

    @property
    def row(self) -> tuple[str, ...]:
        """Its cells, in the order of COLUMNS; names are as they are, odd characters and all."""
        return (
            *(self.kind, self.part, self.name, self.label),
            *(self.other_part, self.other_name, self.other_label, self.detail),
        )

    @property
    def line(self) -> str:
        """What the terminal shows of it."""
        here = f"{self.part}: {self.name}" if self.part and self.name else self.part or self.name
        there = f"{self.other_part}: {self.other_name}" if self.other_name else ""
        labels = f"{self.label} / {self.other_label}" if self.other_label not in ("", self.label) else ""
        return printable("  ".join(text for text in (here, there, labels, self.detail) if text))


@dataclass(frozen=True)
class Report:
    """All findings, and the lines that go before them."""

    head: tuple[str, ...]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def grave(self) -> bool:
        """Whether something was found that makes results wrong, not only worse."""
        return any(finding.kind in GRAVE for finding in self.findings)

    def lines(self) -> Iterator[str]:
        """The report as text: each kind with its count and the first few."""
        yield from self.head
        by_kind: dict[str, list[Finding]] = {kind: [] for kind in KINDS}
        for finding in self.findings:
            by_kind[finding.kind].append(finding)
        for kind, found in by_kind.items():
            if not found:
                continue
            yield f"{'!' if kind in GRAVE else ' '} {len(found):,} {KINDS[kind]}"
            yield from (f"      {finding.line}" for finding in found[:SHOWN])
            if len(found) > SHOWN:
                yield f"      and {len(found) - SHOWN:,} more"
        yield from self.notes
        yield "Nothing grave was found." if not self.grave else "Lines with ! make results wrong: mend these first."


def of_unreadable(files: Iterable[tuple[str, str]]) -> Iterator[Finding]:
    """What was left out."""
    return (Finding("unreadable", name=name, detail=defect) for name, defect in files)


def of_pairs(pairs: Iterable[Pair]) -> Iterator[Finding]:
    """What pairs of copies mean: one that leaks and conflicts is both."""
    for pair in pairs:
        if pair.conflicts:
            yield _of_pair("conflict" if pair.how != "alike" else "near conflict", pair)
        if pair.leaks:
            yield _of_pair("leak" if pair.how != "alike" else "near leak", pair)
        elif not pair.conflicts:
            yield _of_pair({"bytes": "duplicate", "pixels": "same pixels", "alike": "near duplicate"}[pair.how], pair)


def _of_pair(kind: str, pair: Pair) -> Finding:
    first, second = pair.first, pair.second
    detail = {"bytes": "the same file", "pixels": "other files, the same pixels"}.get(pair.how)
    detail = detail or f"correlation {pair.correlation:.3f}"
    return Finding(kind, first.part, first.name, first.label, second.part, second.name, second.label, detail)


def of_suspects(found: Iterable[Suspect]) -> Iterator[Finding]:
    """Doubtful labels."""
    for suspect in found:
        image, margin = suspect.image, f"likelier by {suspect.margin:.2f}"
        yield Finding("label", image.part, image.name, image.label, other_label=suspect.likelier, detail=margin)


def of_images(images: Sequence[Facts]) -> Iterator[Finding]:
    """What single images are: odd files, odd sizes, grey among colour."""
    sides = sorted(min(one.height, one.width) for one in images)
    small = min(SMALLEST, sides[len(sides) // 2] / WHERE_SMALL_IS_USUAL)
    grey = sum(one.grey for one in images)
    odd_one_out = "grey" if grey * 2 < len(images) else "colour"
    mixed = 0 < min(grey, len(images) - grey) <= len(images) // 10
    for one in images:
        shorter, longer = sorted((one.height, one.width))
        size = f"{one.width} x {one.height} pixels"
        if one.pictures > 1:
            yield _of_image("several pictures", one, f"{one.pictures} pictures")
        if one.format:
            yield _of_image("extension", one, f"is {one.format}")
        if shorter < small:
            yield _of_image("small", one, size)
        if longer > LONGEST * shorter:
            yield _of_image("long", one, size)
        if mixed and one.grey == (odd_one_out == "grey"):
            yield _of_image(odd_one_out, one, "")


def _of_image(kind: str, one: Facts, detail: str) -> Finding:
    return Finding(kind, one.part, one.name, one.label, detail=detail)


def counted(classes: Sequence[str], images: Sequence[Facts]) -> dict[str, Counter[str]]:
    """Each split's images by class."""
    counts = {part: Counter(dict.fromkeys(classes, 0)) for part in PARTS}
    for one in images:
        counts[one.part].update(one.labels)
    return counts


def of_counts(counts: Mapping[str, Counter[str]]) -> Iterator[Finding]:
    """Classes of few images, the rarest first."""
    few = [(n, name, part) for part, of in counts.items() for name, n in of.items() if n < FEW and of.total()]
    for n, name, part in sorted(few):
        yield Finding("few", part, label=name, detail=f"{printable(name)}: {n} image{'s' * (n != 1)}")


def balance(counts: Mapping[str, Counter[str]]) -> Iterator[str]:
    """How unlike the classes' counts are, split by split."""
    for part, of in counts.items():
        if of.total():
            (most, n), (least, m) = of.most_common(1)[0], of.most_common()[-1]
            ratio = f", {n / m:.1f} to 1" if 0 < m < n else ""
            yield printable(f"  {part}: {m:,} ({least}) to {n:,} ({most}) images of a class{ratio}")
