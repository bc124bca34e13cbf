import io

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from thawlab.data.bands import UnreadableImage, bands
from thawlab.data.decode import decode_bytes, extensions, pictures_in

RNG = np.random.default_rng(0)
SIX = RNG.integers(0, 256, (20, 30, 6), dtype=np.uint8)


def npy(pixels):
    buffer = io.BytesIO()
    np.save(buffer, pixels)
    return buffer.getvalue()


def tiff(pixels, **options):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


def read(content, channels):
    image = decode_bytes(content, channels)
    assert pictures_in(content, channels) == 1
    return image.permute(1, 2, 0).numpy()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(npy(SIX), id=".npy"),
        pytest.param(tiff(SIX, photometric="minisblack", planarconfig="contig"), id="bands beside each other"),
        pytest.param(
            tiff(SIX.transpose(2, 0, 1), photometric="minisblack", planarconfig="separate"), id="band after band"
        ),
        pytest.param(tiff(SIX.transpose(2, 0, 1), photometric="minisblack"), id="a picture for each band"),
        pytest.param(tiff(SIX.transpose(2, 0, 1), imagej=True, metadata={"axes": "CYX"}), id="ImageJ"),
        pytest.param(tiff(SIX, photometric="minisblack", planarconfig="contig", compression="zlib"), id="compressed"),
        pytest.param(tiff(SIX, photometric="minisblack", planarconfig="contig", byteorder=">"), id="big-endian"),
        pytest.param(tiff(SIX, photometric="minisblack", planarconfig="contig", bigtiff=True), id="BigTIFF"),
    ],
)
def test_bands_are_read_as_they_were_written(content):
    assert np.array_equal(read(content, 6), SIX)


def test_a_tiff_with_two_bands_and_one_with_near_infrared():
    two = SIX[..., :2]
    assert np.array_equal(read(tiff(two, photometric="minisblack", planarconfig="contig"), 2), two)
    infrared = SIX[..., :4]
    options = {"photometric": "rgb", "extrasamples": ["unspecified"]}
    assert np.array_equal(read(tiff(infrared, **options), 4), infrared)


@given(arrays(np.uint16, (3, 4, 5)))
def test_sixteen_bits_are_scaled(pixels):
    expected = np.rint(pixels / 257)
    assert np.array_equal(bands(npy(pixels), 5), expected)
    assert np.array_equal(bands(tiff(pixels, photometric="minisblack", planarconfig="contig"), 5), expected)


@given(st.integers(1, 9), st.integers(1, 9))
def test_another_number_of_bands_is_told(there, wanted):
    content = npy(np.zeros((4, 5, there), np.uint8))
    if there == wanted:
        assert bands(content, wanted).shape == (4, 5, wanted)
    else:
        with pytest.raises(UnreadableImage, match=f"holds {there} bands, but dataset.channels is {wanted}"):
            bands(content, wanted)


def test_a_grey_array_is_one_band():
    assert np.array_equal(read(npy(SIX[..., 0]), 1)[..., 0], SIX[..., 0])


def png():
    buffer = io.BytesIO()
    Image.fromarray(SIX[..., :3]).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "channels", "said"),
    [
        pytest.param(png(), 6, "neither a TIFF nor a .npy", id="a PNG"),
        pytest.param(npy(SIX.astype(np.float32)), 6, "float32 values, whose white is unknown", id="floats"),
        pytest.param(npy(SIX[None]), 6, r"shape \(1, 20, 30, 6\)", id="four axes"),
        pytest.param(npy(SIX[:0]), 6, r"shape \(0, 30, 6\)", id="no pixels"),
        pytest.param(npy(SIX)[:99], 6, "does not decode", id="part of an array"),
        pytest.param(npy(SIX)[:-1], 6, "does not decode", id="all but a byte"),
        pytest.param(npy(np.array([{}], object)), 6, "does not decode", id="a pickle"),
        pytest.param(tiff(SIX, photometric="minisblack")[:60], 6, "does not decode", id="part of a TIFF"),
        pytest.param(tiff(SIX[..., 0]), 6, "holds 1 bands", id="a grey TIFF"),
    ],
)
def test_refuses(content, channels, said):
    with pytest.raises(UnreadableImage, match=said):
        decode_bytes(content, channels)


def test_refuses_more_than_could_be_meant(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UnreadableImage, match="20 x 30 x 6 values"):
        decode_bytes(tiff(SIX, photometric="minisblack", planarconfig="contig"), 6)


@pytest.mark.parametrize(("channels", "arrays_count"), [(1, True), (3, False), (4, True), (6, True)])
def test_arrays_among_photographs_are_no_images(channels, arrays_count):
    assert (".npy" in extensions(channels)) == arrays_count
