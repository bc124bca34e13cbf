import csv
import itertools
import os
import resource
import time

import numpy as np
import pytest
import torch
from docs_commands import ROOT
from hostile_images import CORPUS, IGNORED, PHOTO, REFUSED, SMOOTH, STRIP, TAKEN, bytes_of
from photos import laid_out, named_pngs, packed

from thawlab.data import stores
from thawlab.data.bands import UnreadableImage
from thawlab.data.decode import decode, decode_bytes, pictures_in
from thawlab.data.preprocessing import Preprocessing
from thawlab.data.spec import DatasetSpec
from thawlab.data.splits import load_splits, rows
from thawlab.errors import UserError, printable
from thawlab.files import read_csv
from thawlab.run_files import write_images

PAGE = ROOT / "docs" / "howto" / "check-data.md"
OF_A_FILE = [one for one in CORPUS if one.outcome != IGNORED]
# Pillow warns where an image is large, and refuses none; that checking says it instead is what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")


def each(corpus):
    return [pytest.param(one, id=f"{one.case}: {printable(one.name)[:20]}") for one in corpus]


@pytest.fixture
def lay(monkeypatch):
    """Put one into a folder; a file without permission is one to root as well."""

    def lay(one, folder):
        folder.mkdir(parents=True, exist_ok=True)
        path = one.lay(folder)
        if os.geteuid() == 0:
            really = stores._without_waiting
            monkeypatch.setattr(stores, "_without_waiting", lambda place, flags: forbidding(really, place, flags))
        return path

    def forbidding(really, place, flags):
        if os.stat(place).st_mode & 0o777 == 0:
            raise PermissionError(13, "Permission denied", place)
        return really(place, flags)

    return lay


def spec_of(root, source="folder", **values):
    return DatasetSpec("mine", source, str(root) if source == "folder" else None, **values)


@pytest.mark.parametrize("one", each(OF_A_FILE))
def test_a_file_is_decoded_or_refused_as_stated(one, lay, tmp_path):
    path = lay(one, tmp_path)
    if one.outcome == REFUSED:
        with pytest.raises((UnreadableImage, OSError)) as caught:
            decode(path)
        fact = caught.value.strerror or str(caught.value) if isinstance(caught.value, OSError) else str(caught.value)
        assert fact.startswith(one.said.removeprefix("cannot be read: "))
        return
    image = decode(path)
    assert image.dtype == torch.uint8
    assert image.shape[0] == 3
    pixels = image.permute(1, 2, 0).numpy()
    assert pixels.shape == one.pixels.shape
    assert np.abs(pixels - one.pixels.astype(float)).max() <= one.off


@pytest.fixture
def sound(tmp_path):
    return laid_out(tmp_path / "photos", named_pngs())


@pytest.mark.parametrize("one", each(CORPUS))
def test_in_a_class_folder_it_stops_the_run_or_is_left_out_or_is_taken(one, lay, sound, capsys):
    lay(one, sound / "cats")
    name = f"cats/{one.name}"
    if one.outcome == REFUSED:
        with pytest.raises(UserError) as caught:
            load_splits(spec_of(sound), 0)
        said = str(caught.value)
        assert f"{sound}/{printable(name)} {one.said}" in said
        assert "1 of 21 files" in said
        assert "dataset.bad_images=quarantine" in said
    splits = load_splits(spec_of(sound, bad_images="quarantine"), 0)
    names = {*splits.train.names, *splits.val.names, *splits.test.names}
    notes = "\n".join(splits.notes)
    assert (name in names) == (one.outcome == TAKEN)
    assert len(names) == (21 if one.outcome == TAKEN else 20)
    assert (f"{printable(name)} ({one.said}" in notes) == (one.outcome == REFUSED)
    assert ("ignored 1 files" in notes) == (one.outcome == IGNORED)
    assert one.told in notes
    assert all(note.isprintable() for note in splits.notes), "no name may break a line of the terminal"
    print(*splits.notes, sep="\n")  # as UTF-8, which has no lone surrogates


def test_what_is_taken_loads_from_a_folder_with_its_pixels(lay, sound):
    for one in CORPUS:
        if one.outcome == TAKEN:
            lay(one, sound / "cats")
    splits = load_splits(spec_of(sound), 0)
    wanted = {f"cats/{one.name}": one for one in CORPUS if one.outcome == TAKEN}
    for part in (splits.train, splits.val, splits.test):
        for i, name in enumerate(part.names):
            if one := wanted.pop(name, None):
                pixels = part.load(i).permute(1, 2, 0).numpy()
                assert np.abs(pixels - one.pixels.astype(float)).max() <= one.off, one.case
    assert not wanted


PACKED = {f"cats/{one.name}": one for one in CORPUS if bytes_of(one) is not None}
# A zip keeps names as Unicode: one that is no UTF-8 cannot be written into it.
ZIPPED = {name: one for name, one in PACKED.items() if "\udce9" not in name}


@pytest.mark.parametrize(("kind", "corpus"), [("p.zip", ZIPPED), ("p.tar", PACKED), ("p.tar.gz", PACKED)])
def test_an_archive_gives_each_the_same_outcome(kind, corpus, tmp_path):
    files = {**named_pngs(), **{name: bytes_of(one) for name, one in corpus.items()}}
    root = packed(tmp_path / kind, files)
    with pytest.raises(UserError) as caught:
        load_splits(spec_of(root), 0)
    refused = {name: one for name, one in corpus.items() if one.outcome == REFUSED}
    assert f"{len(refused)} of " in str(caught.value)
    assert_outcomes(load_splits(spec_of(root, bad_images="quarantine"), 0), corpus)


def assert_outcomes(splits, corpus):
    names = {*splits.train.names, *splits.val.names, *splits.test.names}
    for name, one in corpus.items():
        assert (name in names) == (one.outcome == TAKEN), one.case
        if one.outcome == REFUSED:
            assert any(f"{printable(name)} ({one.said}" in note for note in splits.notes), one.case


def test_a_table_gives_each_the_same_outcome(lay, sound):
    # Text tables are UTF-8, and a cell ends where its quotes do.
    corpus = {f"cats/{one.name}": one for one in OF_A_FILE if "\udce9" not in one.name}
    for one in corpus.values():
        lay(one, sound / "cats")
    with (sound / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label"))
        writer.writerows((name, name.partition("/")[0]) for name in (*named_pngs(), *corpus))
    spec = DatasetSpec("mine", "table", table=str(sound / "labels.csv"), bad_images="quarantine")
    assert_outcomes(load_splits(spec, 0), corpus)
    with pytest.raises(UserError, match=r"gone\.png"):
        load_splits(DatasetSpec("mine", "table", table=str(sound / "labels.csv")), 0)


def test_a_folder_named_as_an_image_gives_its_images_to_the_class(sound):
    laid_out(sound / "cats" / "more.jpg", {"inner.png": named_pngs()["dogs/03.png"]})
    splits = load_splits(spec_of(sound), 0)
    assert "cats/more.jpg/inner.png" in {*splits.train.names, *splits.val.names, *splits.test.names}


def test_odd_names_are_whole_in_the_list_of_images(lay, sound, tmp_path):
    odd = [one for one in CORPUS if not one.name.isprintable()]
    assert len(odd) == 3
    for one in odd:
        lay(one, sound / "cats")
    splits = load_splits(spec_of(sound), 0)
    write_images(tmp_path, splits.fingerprint, rows(splits))
    columns, found = read_csv(tmp_path / f"images-{splits.fingerprint[:12]}.csv", "")
    assert columns == ["split", "name", "label", "sha256"]
    assert {name for _, (_, name, _, _) in found} == {*named_pngs(), *(f"cats/{one.name}" for one in odd)}


@pytest.mark.parametrize("whole", [PHOTO, SMOOTH], ids=["grain", "smooth"])
def test_a_jpeg_short_by_any_few_bytes_is_noticed_by_checking_and_decoding(whole):
    for short, channels in itertools.product(range(1, 12), (1, 3)):
        for read in (decode_bytes, pictures_in):
            with pytest.raises(UnreadableImage, match="truncated"):
                read(whole[:-short], channels)


def test_a_png_with_any_bit_flipped_is_refused():
    content = bytes_of(next(one for one in CORPUS if one.name == "named.jpg"))
    for place in range(len(content)):
        with pytest.raises(UnreadableImage):
            decode_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])


def test_pixel_bombs_are_small_files_and_refused_before_they_are_decoded(tmp_path):
    for one in CORPUS:
        if one.name in ("10k.png", "15k.png"):
            assert len(one.content) < 60_000
            (tmp_path / one.name).write_bytes(one.content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name in ("10k.png", "15k.png"):
        with pytest.raises(UnreadableImage):
            decode(tmp_path / name)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # kilobytes; 10k at 8 bits: 97,656


PREPROCESSING = Preprocessing(32, (0.5,) * 3, (0.5,) * 3, "bicubic", 0.8)


@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("length", [99, 100, 641])
def test_a_strip_is_fitted_as_if_it_were_resized_whole(length, across):
    strip = torch.from_numpy(STRIP[:, :length].copy()).permute(2, 0, 1)
    strip = strip.mT if across else strip
    side = 40  # 32 / 0.8
    size = (length * side, side) if across else (side, length * side)
    whole = torch.nn.functional.interpolate(
        strip[None].float(), size, mode="bicubic", antialias=True, align_corners=False
    ).clamp(0, 255)[0]
    top, left = (round((extent - 32) / 2) for extent in size)
    expected = whole[:, top : top + 32, left : left + 32]
    assert (PREPROCESSING.fit(strip).float() - expected).abs().max() <= 1


def test_a_strip_costs_neither_seconds_nor_gigabytes():
    strip = torch.from_numpy(STRIP).permute(2, 0, 1)
    large = Preprocessing(224, (0.5,) * 3, (0.5,) * 3, "bicubic", 0.875)
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    assert large.fit(strip).shape == (3, 224, 224)
    assert time.perf_counter() - started < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kilobytes; resized whole: 3,000,000


def test_every_outcome_stands_in_the_documentation():
    shown = PAGE.read_text(encoding="utf-8").partition("<!-- outcomes -->\n")[2].partition("<!-- end -->")[0]
    rows_of_all = dict.fromkeys(one.row for one in CORPUS)
    assert shown.splitlines() == ["", "| in a class folder | what becomes of it |", "|---|---|", *rows_of_all, ""]
