"""Rows whose content follows from their item's number, and a count of who computed them."""

import hashlib

import torch

from thawlab.store import Key, RowStore, TensorLayout

KEY = Key({"kind": "boundary", "backbone": "resnet18", "size": "96", "weights": "ab12", "dtype": "float32"})
LAYOUT = (TensorLayout((4, 3), "float32"), TensorLayout((2,), "uint8"))
ROW_BYTES = 4 * 3 * 4 + 2


def names(numbers):
    return [hashlib.sha256(f"image {number}".encode()).digest() for number in numbers]


def row(number):
    """What the network gives for an image: a formula, so that a wrong row shows."""
    return torch.arange(12.0).reshape(4, 3) * (number + 1), torch.tensor([number % 251, 7], dtype=torch.uint8)


class Network:
    """Computes rows of the images of these numbers, and keeps of which it was asked."""

    def __init__(self, numbers, batch=3, row=row):
        self.numbers, self.batch, self.row, self.asked = list(numbers), batch, row, []

    def __call__(self, positions):
        for start in range(0, len(positions), self.batch):
            part = [self.numbers[i] for i in positions[start : start + self.batch]]
            self.asked += part
            yield tuple(torch.stack(column) for column in zip(*map(self.row, part), strict=True))


def opened(folder, numbers, key=KEY, max_bytes=10**9, network=None, store=None):
    """Rows of the images of these numbers, and of which of them the network was asked."""
    network = network or Network(numbers)
    store = store or RowStore(folder, max_bytes)
    return store.open(key, names(numbers), LAYOUT, network, ROW_BYTES), network.asked


def assert_right(rows, numbers):
    """Every row is that of its image, in the order of `numbers`."""
    got = rows.gather(torch.arange(len(numbers)))
    for i, number in enumerate(numbers):
        assert torch.equal(got[0][i], row(number)[0])
        assert torch.equal(got[1][i], row(number)[1])


def entry(folder, key=KEY):
    return folder / key.digest


def segments(folder, key=KEY):
    return sorted(path for path in entry(folder, key).iterdir() if path.is_dir())
