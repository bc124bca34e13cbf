"""Runs that read what frozen stages give from disk: the same results as without, and what is decided when."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from photos import laid_out, named_pngs
from PIL import Image
from small_runs import carried_out, config_of, from_weights, same_bits, with_several_labels
from timm.layers import DropPath

from thawlab import prepare as prepare_module
from thawlab import run
from thawlab.caching.pictures import Pictures
from thawlab.caching.shortcut import Choice, Shortcut
from thawlab.caching.worth import LEAST, PER_BYTE
from thawlab.callbacks import told
from thawlab.data.pixels import PixelStore
from thawlab.errors import UserError
from thawlab.prepare import prepare
from thawlab.shortcuts import spared
from thawlab.store.spec import CacheSpec

PRESETS = [  # the resnet's freeze is `frozen`; its gradual has a test of its own
    *(("resnet", strategy) for strategy in ("truncate", "partial", "fresh_top", "full", "scratch", "lp_ft")),
    ("vit", "gradual"),
    ("demo", "gradual"),
]


def choices(left, split="train"):
    return [choice for choice in left.record.costs["cache"] if choice["split"] == split]


def both(tmp_path, *overrides, on="on"):
    off = carried_out(tmp_path / "off", *overrides, "cache=off")
    cached = carried_out(tmp_path / "cached", *overrides, f"cache={on}", f"cache.folder={tmp_path / 'store'}")
    assert off.record.status == cached.record.status == "finished", cached.record.reason
    return off, cached


def same(one, other):
    return (
        same_bits(one.weights, other.weights)
        and one.predictions == other.predictions
        and one.record.metrics == other.record.metrics
    )


def used(left, *splits):
    """Of each split, whether its images were ever read from disk."""
    return [any(choice["reason"] is None for choice in choices(left, split)) for split in splits or ("train", "val")]


@pytest.fixture(scope="module")
def frozen(tmp_path_factory):
    """A frozen network's overrides, and what it left without the cache and with it."""
    folder = tmp_path_factory.mktemp("frozen")
    words = [*from_weights(folder, "resnet"), "strategy=freeze", "trainer.epochs=3"]
    return words, *both(folder, *words)


def test_a_frozen_network_from_disk_gives_the_same_weights_and_predictions(frozen):
    _, off, cached = frozen
    assert same(off, cached)
    assert used(cached, "train", "val", "test") == [True] * 3


@pytest.mark.parametrize(("net", "strategy"), PRESETS)
def test_a_run_from_disk_ends_with_the_same_weights_and_predictions(net, strategy, tmp_path):
    off, cached = both(tmp_path, *from_weights(tmp_path, net), f"strategy={strategy}", "trainer.epochs=3")
    assert same(off, cached)
    assert used(cached) == [strategy not in ("full", "scratch")] * 2, cached.record.costs["cache"]


def test_a_thawing_schedule_reads_each_stretch_from_its_own_boundary(tmp_path):
    thaw = ["strategy=gradual", "strategy.thaw.epochs=2", "trainer.epochs=6"]
    off, cached = both(tmp_path, *from_weights(tmp_path, "resnet"), *thaw)
    assert same(off, cached)
    found = choices(cached)
    assert [choice["epoch"] for choice in found] == [0, 2, 4]
    lengths = [len(choice["frozen"]) for choice in found]
    assert lengths == sorted(set(lengths), reverse=True)
    # What was never trained so far shrinks as the stages thaw: validation goes with it.
    assert [choice["frozen"] for choice in choices(cached, "val")] == [choice["frozen"] for choice in found]


@pytest.mark.parametrize(
    "extra",
    [
        ["trainer.ema_decay=0.9", "schedule=plateau"],
        ["head=mlp", "head.hidden=[16]", "head.dropout=0.5"],
        ["trainer.accumulate=2", "trainer.clip_norm=1", "trainer.sampling=balanced"],
        ["trainer.precision=bf16"],
        ["trainer.workers=2"],
        ["dataset.channels=1", "trainer.channels_last=false"],
    ],
    ids=lambda extra: extra[0],
)
def test_other_settings_change_nothing_of_that(extra, tmp_path):
    off, cached = both(tmp_path, *from_weights(tmp_path, "resnet"), "strategy=partial", *extra)
    assert same(off, cached)
    assert used(cached, "train", "val", "test") == [True] * 3, cached.record.costs["cache"]


def test_with_adapting_norms_training_reads_what_lies_below_the_first_of_them(tmp_path):
    adapting = ["strategy=partial", "strategy.norm=adapt", "trainer.ema_decay=0.9"]
    off, cached = both(tmp_path, *from_weights(tmp_path, "resnet"), *adapting)
    assert same(off, cached)
    (train,), (val,) = choices(cached), choices(cached, "val")
    assert (train["reason"], train["frozen"]) == (None, []), "the first BatchNorm lies in the first stage"
    assert train["flops"] == 221_184, "its first convolution alone: 2 x 27 x 16 x 16 x 16"
    line = Choice(**{**train, "frozen": tuple(train["frozen"])}).line
    assert line.startswith(
        "cache, train from epoch 1: a part of the first stage computed for 40 images, read from disk for 0, in "
    )
    assert "frozen" in val["reason"], "what adapts changes what is validated"


def test_gradient_checkpointing_changes_nothing_of_that(tmp_path):
    net = [*from_weights(tmp_path, "vit"), "strategy=partial", "trainer.checkpointing=true"]
    off, cached = both(tmp_path, *net)
    assert same(off, cached)
    assert used(cached, "train") == [True]


def test_several_labels_change_nothing_of_that(tmp_path, monkeypatch):
    load = prepare_module.load_splits
    monkeypatch.setattr(prepare_module, "load_splits", lambda spec, seed: with_several_labels(load(spec, seed)))
    off, cached = both(tmp_path, *from_weights(tmp_path, "resnet"), "strategy=partial")
    assert off.record.data["task"] == "multilabel"
    assert same(off, cached)
    assert used(cached, "train", "val", "test") == [True] * 3


def test_what_trained_blocks_drop_is_the_same(tmp_path, monkeypatch):
    """A dropped path and dropout in the last block, which trains."""
    build, share = prepare_module.build, 0.5

    def with_drops(*args):
        built = build(*args)
        block = built.network.blocks[-1]
        block.drop_path1, block.mlp.drop1 = DropPath(share), torch.nn.Dropout(share)
        return built

    monkeypatch.setattr(prepare_module, "build", with_drops)
    net = [*from_weights(tmp_path, "vit"), "strategy=partial"]
    off, cached = both(tmp_path, *net)
    assert same(off, cached)
    assert used(cached) == [True] * 2
    share = 0.0
    plain = carried_out(tmp_path / "plain", *net, "cache=off")
    assert not same_bits(plain.weights, off.weights), "nothing was dropped: the test shows nothing"


def test_another_seed_and_another_head_find_what_the_first_run_kept(tmp_path):
    net = [*from_weights(tmp_path, "resnet"), "strategy=freeze", "cache=on", f"cache.folder={tmp_path / 'store'}"]
    whole = [*net, "dataset=digits", "dataset.per_class=null"]
    first = carried_out(tmp_path / "first", *whole, "trainer.epochs=1")
    assert [c["built"] > 0 for split in ("train", "val", "test") for c in choices(first, split)] == [True] * 3
    for other in (["seed=1"], ["head=mlp", "head.hidden=[8]"], ["dataset.per_class=5"], ["dataset.split_seed=1"]):
        again = carried_out(tmp_path / other[0], *whole, *other, "trainer.epochs=1")
        found = [choice for split in ("train", "val", "test") for choice in choices(again, split)]
        assert [choice["built"] for choice in found] == [0, 0, 0], other


def test_fixed_views_are_walked_through_by_epoch_and_auto_takes_those_that_come_again(tmp_path, monkeypatch):
    monkeypatch.setitem(LEAST, "cpu", 1e6)
    net = [*from_weights(tmp_path, "resnet"), "strategy=freeze", "augment=light", "cache.views=2", "trainer.epochs=3"]
    off, cached = both(tmp_path, *net, on="auto")
    assert same(off, cached)
    (choice,) = choices(cached)
    assert (choice["reason"], choice["images"], choice["built"]) == (None, 2 * 40, 2 * 40)
    flops = cached.record.costs["flops"]
    assert flops["train"] == flops["train_uncached"] - choice["flops"] * (3 - 2) * 40
    other = carried_out(tmp_path / "other", *net, "cache.views=4", "cache=off")
    losses = [[row["train/loss"] for row in left.curves] for left in (off, other)]
    assert losses[0][:2] == losses[1][:2]
    assert losses[0][2:] != losses[1][2:]


@pytest.mark.parametrize(
    ("augment", "word"),
    [(["augment=light"], "cache.views"), (["augment=mixup"], "mixup"), (["augment=cutmix"], "mixup")],
)
def test_images_that_differ_from_epoch_to_epoch_are_not_kept(augment, word, tmp_path):
    net = [*from_weights(tmp_path, "resnet"), "strategy=freeze", *augment]
    with pytest.raises(UserError, match=r"cache\.mode is on") as refused:
        prepare(config_of(*net, "cache=on"))
    assert word in str(refused.value)
    left = carried_out(tmp_path / "auto", *net, f"cache.folder={tmp_path / 'store'}")
    (choice,) = choices(left)
    assert word in choice["reason"]


def test_an_empty_folder_for_the_cache_is_refused():
    with pytest.raises(UserError, match=r"cache\.folder is empty"):
        CacheSpec(folder=" ")


@pytest.mark.parametrize(
    ("split", "refused_by", "said"),
    [("train", "", True), ("val", "", False), ("test", "cut", False), ("test", "store", True)],
)
def test_of_images_that_are_not_trained_on_only_a_lack_of_room_is_said(split, refused_by, said, capsys):
    told(Choice(split, 2, ("stem",), reason="because", refused_by=refused_by))
    assert ("because" in capsys.readouterr().out) is said


def test_a_line_counts_what_was_computed_and_what_was_read():
    choice = Choice("test", 30, ("stem", "layer1", "layer2"), images=10, built=4, nbytes=2_000_000, seconds=1.25)
    assert choice.line == "cache, test: stem to layer2 computed for 4 images, read from disk for 6, in 1.2 s, 2 MB"
    assert replace(choice, split="train", rows="views").line.startswith("cache, train from epoch 31: stem to layer2")


def test_views_of_images_that_nothing_changes_are_refused():
    with pytest.raises(UserError, match=r"cache\.views is 3"):
        prepare(config_of("backbone=demo", "cache.views=3", "backbone.name=thawlab_demo"))


def test_test_time_augmentation_is_computed(tmp_path):
    net = [
        *from_weights(tmp_path, "resnet"),
        "strategy=freeze",
        "augment=light",
        "augment.tta=2",
        "cache.views=2",
        "trainer.epochs=1",
    ]
    off, cached = both(tmp_path, *net)
    assert same(off, cached)
    (choice,) = choices(cached, "test")
    assert "tta" in choice["reason"]


def test_small_work_is_not_worth_it_by_itself(tmp_path):
    left = carried_out(
        tmp_path / "auto", *from_weights(tmp_path, "demo"), "strategy=freeze", f"cache.folder={tmp_path / 'store'}"
    )
    (choice,) = choices(left)
    assert "GFLOPs" in choice["reason"]
    assert not (tmp_path / "store").exists()


VIEWS = ["strategy=freeze", "augment=light", "trainer.epochs=3"]


def test_auto_computes_no_views_that_are_shown_once(tmp_path, monkeypatch):
    monkeypatch.setitem(LEAST, "cpu", 1e6)
    net = [*from_weights(tmp_path, "resnet"), *VIEWS, "cache.views=20", f"cache.folder={tmp_path / 'store'}"]
    left = carried_out(tmp_path / "auto", *net)
    (choice,) = choices(left)
    assert (choice["reason"], choice["built"]) == ("nothing of it would be used twice", 0)
    assert left.record.costs["flops"]["train"] == left.record.costs["flops"]["train_uncached"]


def test_only_the_views_that_the_epochs_show_are_computed(tmp_path):
    off, cached = both(tmp_path, *from_weights(tmp_path, "resnet"), *VIEWS, "cache.views=20")
    assert same(off, cached)
    (choice,) = choices(cached)
    assert choice["images"] == choice["built"] == 3 * cached.record.data["train"]


def test_auto_weighs_each_stretch_of_a_thawing_schedule_by_itself(tmp_path, monkeypatch):
    """Rows of 384, 3,072 and 3,072 bytes stand for 8.20, 7.66 and 7.27 million operations.

    Each is used twice and computed once, which takes four times its bytes: 0.92, 7.37 and 7.37 million at 600 a byte.
    """
    monkeypatch.setitem(LEAST, "cpu", 1e6)
    monkeypatch.setitem(PER_BYTE, "cpu", 600.0)
    thaw = ["strategy=gradual", "strategy.thaw.epochs=2", "trainer.epochs=6"]
    off, cached = both(tmp_path, *from_weights(tmp_path, "resnet"), *thaw, on="auto")
    assert same(off, cached)
    first, second, third = choices(cached)
    assert (first["reason"], first["nbytes"], first["flops"]) == (None, 40 * 384, 8_196_096)
    assert (second["reason"], second["nbytes"], second["flops"]) == (None, 40 * 3_072, 7_661_568)
    assert third["reason"] == "reading 3.07 kB an image costs more than computing 0.0073 GFLOPs"
    flops = cached.record.costs["flops"]
    assert flops["train"] == flops["train_uncached"] - 40 * (8_196_096 + 7_661_568)


def test_the_arithmetic_that_was_spared_is_told(frozen):
    _, off, cached = frozen
    before, after = off.record.costs["flops"], cached.record.costs["flops"]
    assert before["train"] == before["train_uncached"] == after["train_uncached"]
    (choice,) = choices(cached)
    assert choice["built"] == 40
    assert after["train"] == before["train"] - choice["flops"] * (3 - 1) * 40


def test_rows_of_other_processes_count_and_what_was_not_read_saved_nothing():
    shortcut = Shortcut(None, CacheSpec(), None, {"train": Pictures([], None)}, total=lambda mine: mine + 7)
    shortcut.work = SimpleNamespace(network=torch.nn.Identity(), stages=())
    shortcut.begin("train", 0, (), lambda: 3)
    (refused,) = shortcut.choices
    assert (refused.built, refused.reason) == (7, "no stage is frozen from the input on")
    read = replace(refused, reason=None, flops=10, built=7)
    assert spared([read], [20, 20, 20]) == 10 * (60 - 7)
    assert spared([replace(read, reason="another process cannot read it")], [20, 20, 20]) == -70
    assert spared([replace(read, split="val")], [20, 20, 20]) == 0


def test_reduced_precision_takes_half_the_room_and_comes_close(frozen, tmp_path):
    net, off, whole = frozen
    half = carried_out(
        tmp_path / "half", *net, "cache=on", "cache.dtype=bfloat16", f"cache.folder={tmp_path / 'store'}"
    )
    (full_choice,), (half_choice,) = choices(whole), choices(half)
    assert half_choice["nbytes"] < 0.6 * full_choice["nbytes"]
    one, other = (left.weights["fc.weight"] for left in (off, half))
    assert not torch.equal(one, other)
    assert torch.allclose(one, other, atol=0.05 * float(one.abs().max()))


def test_a_file_that_changed_since_the_run_began_leaves_no_row_behind(tmp_path, monkeypatch):
    """Where decoded images find no room, what frozen stages give is computed of the files themselves."""
    photos = laid_out(tmp_path / "photos", named_pngs())
    net = [*from_weights(tmp_path, "resnet"), "strategy=freeze", "dataset=folder", f"dataset.root={photos}"]
    net += ["dataset.per_class=null", "trainer.batch_size=4", "trainer.epochs=1"]
    off = carried_out(tmp_path / "off", *net, "cache=off")
    monkeypatch.setattr(PixelStore, "open", lambda self, images, framing: None)
    net += ["cache=on", f"cache.folder={tmp_path / 'store'}"]
    changed = photos / prepare(config_of(*net)).splits.train.names[-1]
    before, train = changed.read_bytes(), run.train

    def after_a_change(*args):
        Image.new("RGB", (30, 30)).save(changed)
        return train(*args)

    with monkeypatch.context() as patch:
        patch.setattr(run, "train", after_a_change)
        left = carried_out(tmp_path / "changed", *net)
    assert left.record.status != "finished"
    assert f"{changed} has other content than when the run began" in left.record.reason
    changed.write_bytes(before)
    again = carried_out(tmp_path / "again", *net)
    assert choices(again)[0]["built"] == again.record.data["train"]
    assert same(off, again)
