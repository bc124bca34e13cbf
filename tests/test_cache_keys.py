"""What makes a run compute again what frozen stages give, one change at a time; and what does not."""

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from small_runs import carried_out, config_of, from_weights, random_weights

from thawlab import prepare as preparing
from thawlab.caching.pictures import Pictures
from thawlab.caching.reading import Work, frozen_part, read
from thawlab.prepare import prepare
from thawlab.store.rowstore import RowStore


@pytest.fixture
def photos(tmp_path):
    """A folder of two classes of small pictures, all different."""
    draw = np.random.default_rng(0)
    for label in ("cat", "dog"):
        folder = tmp_path / "photos" / label
        folder.mkdir(parents=True)
        for i in range(12):
            Image.fromarray(draw.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    return tmp_path / "photos"


@pytest.fixture
def base(tmp_path, photos):
    return [
        *("strategy=freeze", "dataset=folder", f"dataset.root={photos}", "dataset.per_class=null", "trainer.epochs=1"),
        *("trainer.batch_size=4", "cache=on", f"cache.folder={tmp_path / 'store'}"),
        *from_weights(tmp_path, "resnet"),
    ]


def built(left):
    """Rows that were computed, over all splits."""
    assert left.record.status == "finished", left.record.reason
    assert [choice["reason"] for choice in left.record.costs["cache"]] == [None] * 3
    return sum(choice["built"] for choice in left.record.costs["cache"])


@pytest.fixture
def first(tmp_path, base):
    left = carried_out(tmp_path / "first", *base)
    assert built(left) == 24
    return left


def again(tmp_path, base, *overrides):
    return built(carried_out(tmp_path / "again", *base, *overrides))


def test_the_same_again_finds_every_row(tmp_path, base, first):
    assert again(tmp_path, base) == 0


@pytest.mark.parametrize(
    "change",
    [
        "backbone.size=40",
        "backbone.interpolation=nearest",
        "backbone.crop=0.5",
        "backbone.mean=[0.4,0.4,0.4]",
        "backbone.std=[0.4,0.4,0.4]",
        "cache.dtype=bfloat16",
        "trainer.precision=bf16",
        "trainer.channels_last=false",
    ],
)
def test_another_setting_misses(change, tmp_path, base, first):
    assert again(tmp_path, base, change) == 24


def test_a_weight_misses(tmp_path, base, first):
    random_weights(tmp_path / "test_resnet.safetensors", "test_resnet", seed=8)
    assert again(tmp_path, base) == 24


def changed_network(monkeypatch, change):
    """Let `change` work on the network of every run from now on."""
    build = preparing.build

    def changed(*args, **kwargs):
        found = build(*args, **kwargs)
        with torch.no_grad():
            change(found.network)
        return found

    monkeypatch.setattr(preparing, "build", changed)


def test_a_batchnorms_buffer_misses(tmp_path, base, first, monkeypatch):
    def change(network):
        next(b for name, b in network.named_buffers() if name.endswith("running_var"))[0] += 0.01

    changed_network(monkeypatch, change)
    assert again(tmp_path, base) == 24


def test_an_epsilon_misses(tmp_path, base, first, monkeypatch):
    def change(network):
        next(m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)).eps = 0.1

    changed_network(monkeypatch, change)
    assert again(tmp_path, base) == 24


def test_the_heads_weights_do_not_matter(tmp_path, base, first, monkeypatch):
    changed_network(monkeypatch, lambda network: network.get_classifier().weight.add_(1))
    assert again(tmp_path, base) == 0


def test_one_images_bytes_miss_for_that_image(tmp_path, base, photos, first):
    Image.fromarray(np.full((40, 40, 3), 7, np.uint8)).save(photos / "dog" / "3.png")
    assert again(tmp_path, base) == 1


def test_images_under_other_names_are_found_again(tmp_path, base, photos, first):
    for path in sorted(photos.glob("*/*.png")):
        path.rename(path.with_name(f"{99 - int(path.stem)}.png"))
    assert again(tmp_path, base) == 0


def work_of(config):
    prepared = prepare(config)
    network, pre = prepared.built.network.eval(), prepared.built.preprocessing
    shape = (3, pre.size, pre.size)
    work = Work(network, prepared.built.stages, shape, torch.device("cpu"), nullcontext, torch.contiguous_format, 4, {})
    return prepared, work


def pictures_of(images, digests, pre, **options):
    return Pictures(digests, lambda keys: torch.stack([pre(images.load(index)) for _, index in keys]), **options)


def test_samples_in_another_order_get_their_own_rows(tmp_path, base):
    prepared, work = work_of(config_of(*base))
    train, pre = prepared.splits.train, prepared.built.preprocessing
    digests = [train.digest(i) for i in range(len(train))]
    store = RowStore(tmp_path / "own", 10**9)
    pictures = pictures_of(train, digests, pre)
    straight = read(work, "train", pictures, frozen_part(work, {"head"}, pictures, torch.float32, False), store)
    order = list(reversed(range(len(train))))
    turned = pictures_of(train.take(order), [digests[i] for i in order], pre)
    back = read(work, "train", turned, frozen_part(work, {"head"}, turned, torch.float32, False), store)
    assert back.rows.built == 0
    keys = [(0, i) for i in range(len(train))]
    (one,), (other,) = straight.gather(keys).tensors, back.gather(keys).tensors
    assert torch.equal(one.flip(0), other)
    assert not torch.equal(one, other)


def test_views_are_rows_of_their_own(tmp_path, base, first):
    views = ["augment=light", "trainer.epochs=3", "cache.views=2"]
    train = first.record.data["train"]
    left = carried_out(tmp_path / "views", *base, *views)
    assert built(left) == 2 * train
    assert again(tmp_path, base, *views) == 0
    assert built(carried_out(tmp_path / "seed", *base, *views, "seed=1")) == 2 * train
    assert built(carried_out(tmp_path / "more", *base, *views[:-1], "cache.views=3")) == train


SOURCE = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.mid, self.fc = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(8, 10)

    def forward(self, x):
        return self.fc(self.mid(FACTOR * self.conv(x)).mean((2, 3)))

def build():
    return Net()
"""


def test_the_code_of_a_users_network_misses(tmp_path, base, monkeypatch):
    file = tmp_path / "net.py"
    own = [
        *base[:-2],
        "backbone=function",
        "backbone.name=mine",
        "backbone.mean=[0.5,0.5,0.5]",
        "backbone.std=[0.5,0.5,0.5]",
        f"backbone.function={file}:build",
        "strategy.weights=random",
        "backbone.size=32",
    ]
    counts = []
    for factor in (2, 2, 3):
        file.write_text(SOURCE.replace("FACTOR", str(factor)))
        counts.append(built(carried_out(tmp_path / f"run{len(counts)}", *own)))
    assert counts == [24, 0, 24]


def test_rows_that_the_network_does_not_give_now_are_dropped(tmp_path, base, capsys):
    """Code changed where no key tells: a global that a forward pass reads."""
    prepared, work = work_of(config_of(*base))
    train, pre = prepared.splits.train, prepared.built.preprocessing
    pictures = pictures_of(train, [train.digest(i) for i in range(len(train))], pre)
    store = RowStore(tmp_path / "own", 10**9)
    read(work, "train", pictures, frozen_part(work, {"head"}, pictures, torch.float32, False), store)
    doubled = replace(pictures, load=lambda keys: 2 * pictures.load(keys))
    found = read(work, "train", doubled, frozen_part(work, {"head"}, doubled, torch.float32, False), store)
    assert found.rows.built == len(train)
    assert capsys.readouterr().err.count("dropped") == 1
    assert found.agrees()
