import io

import numpy as np
import pytest
import torch
from PIL import Image

from thawlab.data.decode import UnreadableImage, decode, decode_bytes, pictures_in

HALVES = np.zeros((40, 60, 3), np.uint8)
HALVES[:, :30] = (255, 0, 0)
HALVES[:, 30:] = (0, 0, 255)
RAMP = np.arange(40 * 60, dtype=np.uint16).reshape(40, 60) * 27


def saved(image, form, **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["PNG", "BMP", "GIF", "TIFF", "PPM", "WEBP"])
def test_lossless_formats_give_the_pixels_that_were_saved(form, tmp_path):
    path = tmp_path / "image"
    path.write_bytes(saved(Image.fromarray(HALVES), form, **({"lossless": True} if form == "WEBP" else {})))
    assert np.array_equal(decode(path).permute(1, 2, 0).numpy(), HALVES)


def test_jpeg_is_near_what_was_saved():
    content = saved(Image.fromarray(HALVES), "JPEG", quality=95)
    image, pictures = decode_bytes(content), pictures_in(content)
    assert image.dtype == torch.uint8
    assert pictures == 1
    assert np.abs(image.permute(1, 2, 0).numpy().astype(int)[:, :25] - HALVES[:, :25]).max() < 6


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF"])
def test_exif_orientation_is_applied(form):
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned a quarter clockwise
    image = decode_bytes(saved(Image.fromarray(HALVES), form, exif=exif))
    assert image.shape == (3, 60, 40)
    assert image[0, 5, 20] > 240, "what was left is above"
    assert image[2, 55, 20] > 240


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bit_grey_keeps_its_range(form):
    image = decode_bytes(saved(Image.fromarray(RAMP), form))
    assert np.array_equal(image[0].numpy(), np.rint(RAMP / 257))
    assert torch.equal(image[0], image[2])


def test_sixteen_bit_pgm_and_big_endian_tiff_keep_their_range():
    pgm = b"P5 60 40 65535\n" + RAMP.astype(">u2").tobytes()
    assert np.array_equal(decode_bytes(pgm)[1].numpy(), np.rint(RAMP / 257))
    big = Image.frombytes("I;16B", (60, 40), RAMP.astype(">u2").tobytes())
    assert np.array_equal(decode_bytes(saved(big, "TIFF"))[1].numpy(), np.rint(RAMP / 257))


def test_one_bit_and_grey_become_three_channels():
    for mode in ("1", "L"):
        image = decode_bytes(saved(Image.fromarray(HALVES[..., 0]).convert(mode), "PNG"))
        assert image.shape == (3, 40, 60)
        assert set(image.unique().tolist()) == {0, 255}


def test_transparency_is_laid_on_white_whatever_colour_it_hides():
    hidden = Image.fromarray(np.dstack([HALVES, np.where(HALVES[..., 0] > 0, 255, 0).astype(np.uint8)]))
    grey = Image.fromarray(HALVES[..., 0])
    grey_alpha = Image.merge("LA", [grey, grey])
    palette = Image.fromarray(HALVES).quantize(2)
    blue = palette.getpixel((50, 5))
    for content in (
        saved(hidden, "PNG"),
        saved(palette, "PNG", transparency=blue),
        saved(palette, "GIF", transparency=blue),
    ):
        image = decode_bytes(content)
        assert image[:, 5, 5].tolist() == [255, 0, 0]
        assert image[:, 5, 50].tolist() == [255, 255, 255]
    assert decode_bytes(saved(grey_alpha, "PNG"))[:, 5, 50].tolist() == [255, 255, 255]


def test_palette_and_cmyk_become_rgb():
    assert np.array_equal(decode_bytes(saved(Image.fromarray(HALVES).quantize(2), "PNG"))[0].numpy(), HALVES[..., 0])
    image = decode_bytes(saved(Image.fromarray(HALVES).convert("CMYK"), "JPEG", quality=95))
    assert image[0, 5, 5] > 245
    assert image[2, 5, 5] < 10


def test_several_pictures_are_counted_and_the_first_is_taken():
    frames = [Image.fromarray(np.full((8, 8), value, np.uint8)) for value in (10, 200, 90)]
    for form in ("TIFF", "GIF"):
        content = saved(frames[0], form, save_all=True, append_images=frames[1:])
        assert pictures_in(content) == 3
        assert decode_bytes(content).unique().tolist() == [10]


JPEG = saved(Image.fromarray(np.random.default_rng(0).integers(0, 255, (99, 99, 3), np.uint8)), "JPEG")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(b"", "0 bytes", id="zero bytes"),
        pytest.param(b"<html>not found</html>", "not an image", id="a web page"),
        pytest.param(JPEG[: len(JPEG) // 2], "truncated", id="half a JPEG"),
        pytest.param(JPEG[:20], "not an image|does not decode", id="the first bytes of a JPEG"),
        pytest.param(saved(Image.fromarray(HALVES), "PNG")[:-40], "is cut off", id="most of a PNG"),
        pytest.param(
            saved(Image.fromarray(HALVES), "TIFF")[:2000], "does not decode|not an image", id="part of a TIFF"
        ),
        pytest.param(saved(Image.fromarray(RAMP.astype(np.float32)), "TIFF"), "floating", id="a float TIFF"),
        pytest.param(saved(Image.fromarray(RAMP.astype(np.int32)), "TIFF"), "32-bit", id="a 32-bit TIFF"),
        pytest.param(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image", id="PostScript"),
    ],
)
def test_refuses(content, said):
    with pytest.raises(UnreadableImage, match=said):
        decode_bytes(content)


def test_refuses_a_picture_too_large_to_be_meant(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
    with pytest.warns(Image.DecompressionBombWarning), pytest.raises(UnreadableImage, match="60 x 40 pixels"):
        decode_bytes(saved(Image.fromarray(HALVES), "PNG"))


def test_grey_is_itu_r_601s_luma():
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)
    image = decode_bytes(saved(Image.fromarray(pixels), "PNG"), 1)
    assert image.shape == (1, 40, 60)
    assert np.abs(image[0].numpy() - pixels @ (0.299, 0.587, 0.114)).max() <= 1
    grey = decode_bytes(saved(Image.fromarray(pixels[..., 0]), "PNG"), 1)
    assert np.array_equal(grey[0].numpy(), pixels[..., 0])
    deep = decode_bytes(saved(Image.fromarray(RAMP), "PNG"), 1)
    assert np.array_equal(deep[0].numpy(), np.rint(RAMP / 257))


def test_transparency_is_kept_where_four_channels_are_asked_for():
    alpha = np.arange(40 * 60, dtype=np.uint32).reshape(40, 60) % 256
    pixels = np.dstack([HALVES, alpha.astype(np.uint8)])
    image = decode_bytes(saved(Image.fromarray(pixels), "PNG"), 4)
    assert np.array_equal(image.permute(1, 2, 0).numpy(), pixels)
    opaque = decode_bytes(saved(Image.fromarray(HALVES), "BMP"), 4)
    assert np.array_equal(opaque[:3].permute(1, 2, 0).numpy(), HALVES)
    assert set(opaque[3].unique().tolist()) == {255}


def test_three_channels_of_a_tiff_with_four_bands_are_colours_on_white():
    pixels = np.dstack([HALVES, np.full((40, 60), 255, np.uint8)])
    image = decode_bytes(saved(Image.fromarray(pixels), "TIFF"))
    assert np.array_equal(image.permute(1, 2, 0).numpy(), HALVES)
