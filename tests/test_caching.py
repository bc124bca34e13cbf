"""Runs that read what frozen stages give from disk: the same results as without, and what is decided when."""

import pytest
import torch
from photos import laid_out, named_pngs
from PIL import Image
from small_runs import carried_out, config_of, from_weights, same_bits

from thawlab import run
from thawlab.data.pixels import PixelStore
from thawlab.errors import UserError
from thawlab.prepare import prepare

PRESETS = ("freeze", "truncate", "partial", "fresh_top", "full", "scratch", "gradual", "lp_ft")


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


@pytest.mark.parametrize("strategy", PRESETS)
@pytest.mark.parametrize("net", ["resnet", "vit", "demo"])
def test_a_run_from_disk_ends_with_the_same_weights_and_predictions(net, strategy, tmp_path):
    off, cached = both(tmp_path, *from_weights(tmp_path, net), f"strategy={strategy}", "trainer.epochs=3")
    assert same(off, cached)
    used = [choice["reason"] is None for choice in choices(cached)]
    assert any(used) == (strategy not in ("full", "scratch")), choices(cached)


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
        ["trainer.ema_decay=0.9"],
        ["head=mlp", "head.hidden=[16]", "head.dropout=0.5"],
        ["strategy.norm=adapt"],
        ["trainer.accumulate=2"],
        ["schedule=plateau"],
        ["trainer.sampling=balanced"],
        ["trainer.precision=bf16"],
        ["trainer.workers=2"],
        ["trainer.channels_last=false"],
        ["trainer.clip_norm=1"],
    ],
    ids=lambda extra: extra[0],
)
def test_other_settings_change_nothing_of_that(extra, tmp_path):
    off, cached = both(tmp_path, *from_weights(tmp_path, "resnet"), "strategy=partial", *extra)
    assert same(off, cached)


def test_gradient_checkpointing_changes_nothing_of_that(tmp_path):
    net = [*from_weights(tmp_path, "vit"), "strategy=partial", "trainer.checkpointing=true"]
    off, cached = both(tmp_path, *net)
    assert same(off, cached)


def test_another_seed_and_another_head_find_what_the_first_run_kept(tmp_path):
    net = [*from_weights(tmp_path, "resnet"), "strategy=freeze", "cache=on", f"cache.folder={tmp_path / 'store'}"]
    whole = [*net, "dataset.per_class=null"]
    first = carried_out(tmp_path / "first", *whole, "trainer.epochs=1")
    assert [c["built"] > 0 for split in ("train", "val", "test") for c in choices(first, split)] == [True] * 3
    for other in (["seed=1"], ["head=mlp", "head.hidden=[8]"], ["dataset.per_class=5"], ["dataset.split_seed=1"]):
        again = carried_out(tmp_path / other[0], *whole, *other, "trainer.epochs=1")
        found = [choice for split in ("train", "val", "test") for choice in choices(again, split)]
        assert [choice["built"] for choice in found] == [0, 0, 0], other


def test_fixed_views_are_walked_through_by_epoch(tmp_path):
    net = [*from_weights(tmp_path, "resnet"), "strategy=freeze", "augment=light", "cache.views=2", "trainer.epochs=4"]
    off, cached = both(tmp_path, *net)
    assert same(off, cached)
    (choice,) = choices(cached)
    assert choice["reason"] is None
    assert choice["images"] == 2 * cached.record.data["train"]
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


def test_views_of_images_that_nothing_changes_are_refused():
    with pytest.raises(UserError, match=r"cache\.views is 3"):
        prepare(config_of("backbone=demo", "cache.views=3", "backbone.name=thawlab_demo"))


def test_test_time_augmentation_is_computed(tmp_path):
    net = [*from_weights(tmp_path, "resnet"), "strategy=freeze", "augment=light", "augment.tta=2", "cache.views=2"]
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


def test_the_arithmetic_that_was_spared_is_told(tmp_path):
    net = [*from_weights(tmp_path, "resnet"), "strategy=freeze", "trainer.epochs=3"]
    off, cached = both(tmp_path, *net)
    before, after = off.record.costs["flops"], cached.record.costs["flops"]
    assert before["train"] == before["train_uncached"] == after["train_uncached"]
    (choice,) = choices(cached)
    built = sum(c["built"] for split in ("train", "val", "test") for c in choices(cached, split))
    images = 3 * cached.record.data["train"]
    assert after["train"] == before["train"] - choice["flops"] * (images - built)


def test_reduced_precision_takes_half_the_room_and_comes_close(tmp_path):
    net = [*from_weights(tmp_path, "resnet"), "strategy=freeze"]
    off, whole = both(tmp_path, *net)
    half = carried_out(
        tmp_path / "half", *net, "cache=on", "cache.dtype=bfloat16", f"cache.folder={tmp_path / 'store'}"
    )
    (full_choice,), (half_choice,) = choices(whole), choices(half)
    assert half_choice["nbytes"] < 0.6 * full_choice["nbytes"]
    one, other = off.weights["head.weight" if "head.weight" in off.weights else "fc.weight"], None
    other = half.weights["head.weight" if "head.weight" in half.weights else "fc.weight"]
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
