import hashlib

import numpy as np
import torch
from PIL import Image

from thawlab.data.images import ArrayImages, EncodedImages
from thawlab.data.stores import FolderStore

PIXELS = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)


def test_colour_in_memory_loads_channels_first():
    images = ArrayImages(PIXELS, np.array([0, 1]), ("a", "b"))
    assert torch.equal(images.load(1), torch.tensor(PIXELS[1]).permute(2, 0, 1))


def test_grey_in_memory_loads_in_three_channels_and_apart_from_its_source():
    pixels = PIXELS[..., 0].copy()
    pixels.setflags(write=False)
    images = ArrayImages(pixels, np.array([0, 1]), ("a", "b"))
    loaded = images.load(0)
    assert loaded.shape == (3, 4, 5)
    loaded.zero_()
    assert images.load(0)[2].tolist() == pixels[0].tolist()


def test_taken_images_keep_label_name_and_content_together(tmp_path):
    for i in range(2):
        Image.fromarray(PIXELS[i]).save(tmp_path / f"{i}.png")
    digests = tuple(hashlib.sha256((tmp_path / f"{i}.png").read_bytes()).digest() for i in range(2))
    array = ArrayImages(PIXELS, np.array([7, 8]), ("0.png", "1.png"))
    files = EncodedImages(FolderStore(tmp_path), ("0.png", "1.png"), np.array([7, 8]), digests)
    for images in (array, files):
        taken = images.take([1])
        assert (len(taken), taken.names, taken.labels.tolist()) == (1, ("1.png",), [8])
        assert torch.equal(taken.load(0), images.load(1))
        assert taken.digest(0) == images.digest(1) != images.digest(0)
    assert torch.equal(array.load(0), files.load(0))
