"""Similarity measured of small networks, against networks cut by hand and forward passes written out."""

import copy
import math
import os
import zipfile
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from small_runs import SMALL, config_of, from_weights, with_several_labels
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from thawlab.backbones.build import build
from thawlab.backbones.heads import HeadSpec
from thawlab.data.splits import load_splits
from thawlab.errors import UserError
from thawlab.prepare import specs_of
from thawlab.similarity import gathering, scores, taps
from thawlab.similarity.gathering import gather, measure, sample
from thawlab.similarity.measured import Similarity
from thawlab.similarity.source import source_network
from thawlab.strategy import Strategy

CPU = torch.device("cpu")
DEMO = ("backbone=demo", "cache=off", "dataset.per_class=6")


@pytest.fixture(autouse=True)
def _apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(scores, "REPEATS", 1)  # what probes say is held in test_similarity_scores


def gathered(config):
    specs = specs_of(config)
    splits = load_splits(specs.dataset, specs.seed)
    source = source_network(specs.backbone, specs.seed, specs.dataset.channels)
    seen = torch.stack([source.preprocessing(splits.train.load(i)) for i in range(len(splits.train))])
    places = np.arange(len(splits.train))
    return specs, splits, source, gather(source, source.twin(), splits.train, places, CPU), seen


def numbers(similarity):
    """All but how long it took; NaN as None, so that it equals itself."""
    return {name: value for name, value in similarity.to_plain().items() if name != "seconds"}


@pytest.mark.parametrize("net", ["demo", "resnet", "vit"])
def test_each_stage_gives_what_a_head_on_the_network_cut_there_is_given(tmp_path, net):
    specs, _, source, found, seen = gathered(config_of(*from_weights(tmp_path, net)))
    body = [stage.name for stage in source.stages[:-1]]
    assert list(found.features) == body
    for kept in {1, len(body) // 2}:
        name = body[kept - 1]
        cut = build(specs.backbone, HeadSpec(), Strategy("truncate", keep=kept, train=0), 10, 0.1, 0)
        with torch.inference_mode():
            wanted = cut.network.eval().features(seen)
        torch.testing.assert_close(torch.from_numpy(found.features[name]), wanted, rtol=1e-4, atol=1e-5)
    whole = build(specs.backbone, HeadSpec(), Strategy("freeze", train=0), 10, 0.1, 0).network.eval()
    (head,) = [m for name, m in whole.named_modules() if isinstance(m, torch.nn.Linear) and m.out_features == 10]
    entered = []
    head.register_forward_pre_hook(lambda _, args: entered.append(args[0]))
    with torch.inference_mode():
        whole(seen)
    torch.testing.assert_close(torch.from_numpy(found.features[body[-1]]), entered[0], rtol=1e-4, atol=1e-5)
    assert (set(found.distances.values()) == {None}) == (net == "vit")  # it has no BatchNorm


def test_the_norm_distance_is_that_of_all_images_in_one_batch(tmp_path):
    _, _, source, found, seen = gathered(config_of(*from_weights(tmp_path, "resnet")))
    network, distances = copy.deepcopy(source.network), {}

    def note(path):
        def hook(module, args):
            mean = args[0].double().mean(dim=(0, 2, 3))
            deviation = args[0].double().var(dim=(0, 2, 3), correction=0).sqrt()
            apart = (mean - module.running_mean) ** 2 + (deviation - module.running_var.double().sqrt()) ** 2
            distances[path] = float((apart / (module.running_var.double() + module.eps)).sqrt().mean())

        return hook

    for path, module in network.named_modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.register_forward_pre_hook(note(path))
    with torch.inference_mode():
        network(seen)
    for stage in source.stages[:-1]:
        own = [d for path, d in distances.items() if stage.owns(f"{path}.weight")]
        assert found.distances[stage.name] == pytest.approx(np.mean(own), rel=1e-4)


def test_the_logits_are_the_source_networks_own():
    _, _, _, found, seen = gathered(config_of(*DEMO))
    with torch.inference_mode():
        wanted = timm.create_model("thawlab_demo", pretrained=True).eval()(seen)
    torch.testing.assert_close(torch.from_numpy(found.logits), wanted, rtol=1e-4, atol=1e-5)


def test_the_twin_and_the_pictures_are_what_they_say():
    _, splits, source, found, seen = gathered(config_of(*DEMO))
    twin, entered = source.twin(), []
    twin.head.register_forward_pre_hook(lambda _, args: entered.append(args[0]))
    with torch.inference_mode():
        twin(seen)
    torch.testing.assert_close(torch.from_numpy(found.twin), entered[0], rtol=1e-4, atol=1e-5)
    fitted = source.preprocessing.fit(splits.train.load(3))[None].float() / 255
    small = functional.interpolate(fitted, size=16, mode="area").flatten()
    np.testing.assert_allclose(found.pixels[3], small.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "classes"),
    [
        pytest.param(lambda state: state, 5, id="a classifier of other classes than the architecture's"),
        pytest.param(lambda state: {n: t for n, t in state.items() if not n.startswith("head")}, None, id="no head"),
        pytest.param(
            lambda state: {n.replace("head.", "head.fc0."): t for n, t in state.items()}, None, id="a head of layers"
        ),
    ],
)
def test_leep_asks_for_the_sources_own_classifier(tmp_path, change, classes):
    model = timm.create_model("thawlab_demo", num_classes=5)
    save_file(change(model.state_dict()), tmp_path / "own.safetensors")
    _, _, _, found, seen = gathered(config_of(*DEMO, f"backbone.weights={tmp_path / 'own.safetensors'}"))
    assert (None if found.logits is None else found.logits.shape[1]) == classes
    if classes:
        with torch.inference_mode():
            wanted = model.eval()(seen)
        torch.testing.assert_close(torch.from_numpy(found.logits), wanted, rtol=1e-4, atol=1e-5)


def test_nothing_but_training_images_is_looked_at_and_twice_is_the_same_to_the_last_bit():
    config = config_of(*DEMO)
    splits = load_splits(specs_of(config).dataset, 0)
    untouchable = type(
        "Untouchable", (), {"__len__": lambda self: 9}
    )()  # anything else that is asked of it is an error
    assert numbers(measure(config, replace(splits, val=untouchable, test=untouchable))) == numbers(measure(config))


def test_a_second_measure_reads_what_the_first_computed(monkeypatch):
    config = config_of(*DEMO, "cache=on")
    first = measure(config)
    monkeypatch.setattr(gathering, "gather", lambda *_: pytest.fail("it was computed again"))
    assert numbers(measure(config)) == numbers(first)
    with pytest.raises(pytest.fail.Exception):
        measure(config, store=None)
    with pytest.raises(pytest.fail.Exception):
        measure(config_of(*DEMO, "cache=on", "seed=1"))  # other images


def test_other_weights_are_another_source(tmp_path):
    state = timm.create_model("thawlab_demo").state_dict()
    results = []
    for change in (0.0, 0.5):
        state["conv1.conv.weight"] += change
        save_file(state, tmp_path / "own.safetensors")
        results.append(measure(config_of(*DEMO, "cache=on", f"backbone.weights={tmp_path / 'own.safetensors'}")))
    assert results[0].stages != results[1].stages


def test_what_cannot_be_kept_is_measured_all_the_same(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    kept = measure(config_of(*DEMO, "cache=on", f"cache.folder={tmp_path / 'file'}"))
    assert "not kept" in capsys.readouterr().err
    assert numbers(kept) == numbers(measure(config_of(*DEMO)))


def test_a_stage_that_cannot_be_cut_is_left_out_and_named(monkeypatch):
    def truncate(model, stages, kept, *images):
        if kept == 2:
            raise UserError("nothing passes there.")
        return actual(model, stages, kept, *images)

    actual = taps.truncate
    monkeypatch.setattr(taps, "truncate", truncate)
    found = measure(config_of(*DEMO))
    assert [stage.stage for stage in found.stages] == ["conv1", "conv3", "fc1", "fc2"]
    assert any("conv2" in note and "nothing passes there." in note for note in found.notes)


def test_of_many_images_a_sample_is_measured_and_said():
    found = measure(config_of(*DEMO), most=30)
    assert (found.images, found.per_class_min, found.chance) == (30, 3, 0.1)
    assert any("30 of 60" in note for note in found.notes)


@pytest.mark.parametrize(
    ("counts", "most", "wanted"),
    [
        pytest.param([50, 30, 20], 10, [5, 3, 2], id="in the shares of the classes"),
        pytest.param([97, 2, 1], 10, [8, 1, 1], id="of each class one"),
        pytest.param([5, 5, 5], 2, [1, 1, 1], id="more classes than images"),
        pytest.param([3, 2], 10, [3, 2], id="all where there are fewer"),
        pytest.param([10, 10, 10], 10, [4, 3, 3], id="a remainder goes to one"),
    ],
)
def test_a_sample_is_stratified(counts, most, wanted):
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    places = sample(labels, most, 0)
    assert np.bincount(labels[places]).tolist() == wanted
    assert len(set(places.tolist())) == len(places)
    assert places.tolist() == sorted(places.tolist()) == sample(labels, most, 0).tolist()


def test_another_seed_draws_another_sample():
    labels = np.arange(100) % 4
    assert sample(labels, 20, 0).tolist() != sample(labels, 20, 1).tolist()


def test_one_image_of_each_class_leaves_a_record_that_can_be_read():
    found = measure(config_of(*DEMO, "dataset.per_class=1"))
    assert all(math.isnan(stage.linear_probe) for stage in found.stages)
    assert all(math.isfinite(stage.log_evidence) for stage in found.stages)
    assert Similarity.from_plain(found.to_plain()).to_plain() == found.to_plain()


def test_of_a_dear_network_fewer_are_measured_but_never_below_the_least(monkeypatch):
    specs = specs_of(config_of(*DEMO))
    source = source_network(specs.backbone, specs.seed, specs.dataset.channels)
    side = source.preprocessing.size
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        logits = source.network(torch.zeros(1, source.preprocessing.channels, side, side))
    # Each convolution and its norm write a map; each map has half the sides of the one before.
    maps = sum(2 * width * (side // 2**depth) ** 2 for depth, width in enumerate((16, 32, 64)))
    written = maps + 128 + 64 + logits.shape[1]
    monkeypatch.setattr(gathering, "VALUE_FLOPS", 1000)
    monkeypatch.setattr(gathering, "PASS_FLOPS", 40 * (counter.get_total_flops() + 1000 * written))
    monkeypatch.setattr(gathering, "LEAST", 20)
    assert measure(config_of(*DEMO)).images == 40
    assert measure(config_of(*DEMO), most=30).images == 30
    monkeypatch.setattr(gathering, "LEAST", 45)
    assert measure(config_of(*DEMO)).images == 45


def test_a_large_network_has_no_twin(monkeypatch):
    monkeypatch.setattr(gathering, "TWIN_FLOPS", 1.0)
    found = measure(config_of(*DEMO))
    assert found.random_probe is None
    assert any("random weights" in note for note in found.notes)


def test_several_labels_are_refused():
    config = config_of(*DEMO)
    splits = with_several_labels(load_splits(specs_of(config).dataset, 0))
    with pytest.raises(UserError, match=r"dataset\.task is multilabel"):
        measure(config, splits)


def test_what_looks_like_the_source_is_nearer_than_what_does_not():
    near, far = (
        measure(config_of(*DEMO, f"dataset={name}", small=[w for w in SMALL if "digits" not in w]))
        for name in ("characters_near", "shapes")
    )
    for one, other in zip(near.stages, far.stages, strict=True):
        assert one.norm_distance is None or one.norm_distance < other.norm_distance / 1.5
    assert near.leep / math.log(near.classes) > far.leep / math.log(far.classes)  # as shares of knowing nothing
    assert near.stages[2].linear_probe > near.random_probe + 0.2
    assert asdict(near.stages[2]).keys() == asdict(far.stages[2]).keys()


@pytest.mark.slow
@pytest.mark.skipif(
    "THAWLAB_DATA" not in os.environ, reason="THAWLAB_DATA names no folder with real weights and images"
)
def test_photographs_are_nearer_to_imagenet_by_far_than_to_random_weights(tmp_path):
    data = Path(os.environ["THAWLAB_DATA"])
    with zipfile.ZipFile(data / "datasets" / "hymenoptera.zip") as archive:
        archive.extractall(tmp_path / "photos")
    (train,) = (tmp_path / "photos").rglob("train")
    (weights,) = (data / "weights").glob("mobilenetv2_100*.safetensors")
    found = measure(
        config_of(
            *("backbone=timm", "backbone.name=mobilenetv2_100", f"backbone.weights={weights}"),
            *("dataset=folder", f"dataset.root={train.parent}"),
            small=[],
        )
    )
    assert found.stages[-1].linear_probe > 0.88
    assert found.stages[-1].linear_probe > max(found.random_probe, found.pixels_probe) + 0.1
    assert found.leep > -0.5
