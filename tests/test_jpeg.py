import io
from itertools import product

import numpy as np
import pytest
import torch
from photos import photo
from PIL import Image, ImageOps

from thawlab.data import decode as decoding
from thawlab.data import jpeg
from thawlab.data.decode import UnreadableImage, decode_bytes, pictures_in


def picture(height=67, width=93):
    return Image.fromarray(photo(height, width).permute(1, 2, 0).numpy())


def saved(image, form="JPEG", **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def with_pillow(content, mode="RGB"):
    """The pixels as Pillow alone gives them: (height, width, channels)."""
    with Image.open(io.BytesIO(content)) as image:
        return np.atleast_3d(np.array(ImageOps.exif_transpose(image).convert(mode)))


@pytest.fixture
def fast(monkeypatch):
    """What the fast decoder gave, file by file."""
    given = []

    def watched(*arguments):
        given.append(jpeg.fast_jpeg(*arguments))
        return given[-1]

    monkeypatch.setattr(decoding, "fast_jpeg", watched)
    return given


def assert_same_pixels(content, channels=3, mode="RGB"):
    image = decode_bytes(content, channels)
    assert pictures_in(content, channels) == 1
    assert image.dtype == torch.uint8
    assert np.array_equal(image.permute(1, 2, 0).numpy(), with_pillow(content, mode))
    assert image.permute(1, 2, 0).is_contiguous()


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (8, 8), (17, 16), (67, 93), (375, 500)])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}, {"keep_rgb": True}])
def test_colours_are_pillows(size, options, fast):
    for quality, subsampling in product((30, 75, 98), (0, 1, 2)):
        if "keep_rgb" in options and subsampling:
            continue
        assert_same_pixels(saved(picture(*size), quality=quality, subsampling=subsampling, **options))
    assert all(given is not None for given in fast)


@pytest.mark.parametrize("progressive", [False, True])
def test_grey_is_pillows(progressive, fast):
    content = saved(picture().convert("L"), progressive=progressive)
    assert_same_pixels(content)
    assert_same_pixels(content, 1, "L")
    assert all(given is not None for given in fast)


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_every_orientation_is_pillows(orientation, mode, fast):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert_same_pixels(saved(picture().convert(mode), exif=exif))
    assert fast[0] is not None


def test_the_first_picture_of_a_phones_file_is_taken(fast):
    content = saved(picture(), "MPO", save_all=True, append_images=[picture(20, 30)])
    assert Image.open(io.BytesIO(content)).format == "MPO"
    assert_same_pixels(content)
    assert fast[0] is not None


@pytest.mark.parametrize(
    ("content", "channels", "mode"),
    [
        pytest.param(saved(picture()), 1, "L", id="colour wanted as grey"),
        pytest.param(saved(picture()), 4, "RGBA", id="an opaque fourth channel"),
        pytest.param(saved(picture().convert("CMYK")), 3, "RGB", id="inks"),
        pytest.param(saved(picture(), "PNG"), 3, "RGB", id="PNG"),
        pytest.param(saved(picture(), "WEBP"), 3, "RGB", id="WebP"),
    ],
)
def test_pillow_decodes_the_rest(content, channels, mode, fast):
    assert_same_pixels(content, channels, mode)
    assert fast == [None]


FILES = {
    "baseline": saved(picture()),
    "progressive": saved(picture(), progressive=True),
    "grey": saved(picture().convert("L")),
    "restarting": saved(picture(), restart_marker_rows=1),
}


def outcome(decode, content):
    try:
        return decode(content)
    except UnreadableImage as error:
        return str(error)


def pillow_alone(content, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(decoding, "fast_jpeg", lambda *_: None)
        return outcome(lambda c: decode_bytes(c), content)


def assert_same_outcome(content, monkeypatch):
    expected = pillow_alone(content, monkeypatch)
    found = outcome(lambda c: decode_bytes(c), content)
    checked = outcome(lambda c: pictures_in(c), content)
    assert checked == (expected if isinstance(expected, str) else 1)
    assert torch.equal(found, expected) if isinstance(expected, torch.Tensor) else found == expected
    return isinstance(expected, str)


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_off_anywhere_is_refused_in_the_same_words(name, monkeypatch):
    content = FILES[name]
    refused = sum(assert_same_outcome(content[:k], monkeypatch) for k in range(1, len(content) - 2, 41))
    assert refused == len(range(1, len(content) - 2, 41))
    for k in range(1, 8):  # some lack the end marker alone, which Pillow may not miss
        assert_same_outcome(content[:-k], monkeypatch)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_a_file_with_flipped_bytes_is_what_it_is_to_pillow(name, monkeypatch):
    draw = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        content = bytearray(FILES[name])
        for place in draw.integers(2, len(content), draw.integers(1, 4)):
            content[place] = draw.integers(256)
        refused += assert_same_outcome(bytes(content), monkeypatch)
    assert 0 < refused < 300


def test_what_follows_a_picture_is_left_alone(monkeypatch):
    for rest in (b"\0" * 9, b"text", FILES["grey"]):
        assert not assert_same_outcome(FILES["baseline"] + rest, monkeypatch)
