import os
import pickle

import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from small_runs import NETS, carried_out, from_weights, random_weights, same_bits
from torch import nn

from thawlab.backbones.weights import adapted, load, read_weights, write_weights
from thawlab.errors import UserError


def network(seed=1, name="test_resnet", **options):
    torch.manual_seed(seed)
    return timm.create_model(name, **options)


def read(path, model):
    return adapted(read_weights(str(path))[0], model)


CHECKPOINTS = {
    "plain": lambda state: state,
    "in state_dict, beside an epoch": lambda state: {"state_dict": state, "epoch": 3},
    "in model": lambda state: {"model": state, "optimizer": {"lr": 0.1}},
    "DDP": lambda state: {f"module.{n}": t for n, t in state.items()},
    "compiled, then DDP": lambda state: {f"module._orig_mod.{n}": t for n, t in state.items()},
    "Lightning": lambda state: {
        "state_dict": {f"network.{n}": t for n, t in state.items()},
        "pytorch-lightning_version": "2.6.6",
        "hyper_parameters": {"lr": 0.1},
        "epoch": 1,
    },
    "Lightning with a weighted loss": lambda state: {
        "state_dict": {**{f"model.{n}": t for n, t in state.items()}, "criterion.weight": torch.ones(3)}
    },
}


@pytest.mark.parametrize("wrap", CHECKPOINTS.values(), ids=CHECKPOINTS)
def test_a_checkpoint_is_read_however_it_was_wrapped(tmp_path, wrap):
    source, target = network(1).state_dict(), network(2)
    torch.save(wrap(source), tmp_path / "model.pt")
    match = load(target, read(tmp_path / "model.pt", target), set(source), False, "model.pt")
    assert len(match.matched) == len(source)
    assert same_bits(target.state_dict(), source)


def test_a_name_that_looks_like_a_prefix_is_kept_where_it_is_the_networks_own():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = nn.Linear(2, 2)

    assert adapted(Net().state_dict(), Net()).keys() == {"model.weight", "model.bias"}


def test_the_same_weights_make_the_same_file_which_the_library_reads(tmp_path):
    state = {"b": torch.arange(3, dtype=torch.uint8), "ä": torch.eye(2), "scalar": torch.tensor(7)}
    state |= network().state_dict()
    metadata = {f"{key}": f'"{key}"\n\0ß, 猫' for key in range(16)}
    for name in ("one", "other"):
        write_weights(tmp_path / f"{name}.safetensors", state, metadata)
    assert (tmp_path / "one.safetensors").read_bytes() == (tmp_path / "other.safetensors").read_bytes()
    with safe_open(tmp_path / "one.safetensors", framework="pt") as file:
        assert file.metadata() == metadata
    assert same_bits(load_file(tmp_path / "one.safetensors"), state)
    save_file(state, tmp_path / "librarys.safetensors", metadata)
    tensors, said = read_weights(str(tmp_path / "librarys.safetensors"))
    assert said == metadata, "as runs wrote it before"
    assert same_bits(tensors, state)


def test_safetensors_come_with_their_metadata(tmp_path):
    save_file({"a": torch.ones(1)}, tmp_path / "w.safetensors", metadata={"mean": "(0.1, 0.2, 0.3)"})
    tensors, metadata = read_weights(str(tmp_path / "w.safetensors"))
    assert metadata["mean"] == "(0.1, 0.2, 0.3)"
    assert torch.equal(tensors["a"], torch.ones(1))


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("save", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content, 2))])
def test_a_malicious_pickle_runs_nothing(tmp_path, save):
    save({"state_dict": Malicious(str(tmp_path / "owned"))}, tmp_path / "evil.pt")
    with pytest.raises(UserError, match=r"evil\.pt cannot be read as weights: it holds more than plain tensors"):
        read_weights(str(tmp_path / "evil.pt"))
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("half.safetensors", b"\x10\x00\x00\x00\x00\x00\x00\x00{", id="safetensors cut short"),
        pytest.param("empty.safetensors", b"", id="empty safetensors"),
        pytest.param("empty.pt", b"", id="empty checkpoint"),
        pytest.param("text.ckpt", b"not weights at all", id="text"),
        pytest.param("half.pt", b"PK\x03\x04rest", id="archive cut short"),
    ],
)
def test_garbage_is_refused_by_name(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"{name} cannot be read as weights"):
        read_weights(str(tmp_path / name))


@pytest.mark.parametrize("content", [[1, 2], {}, {"a": 1}, torch.ones(2)], ids=["list", "empty", "numbers", "tensor"])
def test_a_checkpoint_without_names_and_tensors_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "odd.pt")
    with pytest.raises(UserError, match="no mapping of names to tensors"):
        read_weights(str(tmp_path / "odd.pt"))


def test_a_missing_file_is_refused_with_what_may_be_given(tmp_path):
    with pytest.raises(UserError, match=r"there is no file .*model\.safetensors.*finished run"):
        read_weights(str(tmp_path))


def test_a_partial_match_is_refused_and_says_what_does_not_fit():
    source, target = network(1).state_dict(), network(2)
    del source["layer1.0.conv1.weight"]
    source["layer2.0.conv1.weight"] = torch.zeros(1, 2, 3, 3)
    wanted = set(target.state_dict())
    with pytest.raises(UserError) as caught:
        load(target, source, wanted, False, "w.pt")
    said = str(caught.value)
    weights = len([name for name in wanted if "num_batches" not in name])
    assert f"fits this network only in part: {weights - 2} of {weights} tensors" in said
    assert "Missing: layer1.0.conv1.weight" in said
    assert "layer2.0.conv1.weight (1x2x3x3 in the source" in said
    assert "backbone.allow_partial=true" in said
    match = load(target, source, wanted, True, "w.pt")
    assert match.missing == ("layer1.0.conv1.weight",)
    assert len(match.matched) == len(wanted) - 2
    assert any("2 start random" in line for line in match.lines())


def test_what_is_left_out_is_told():
    source, target = network(1).state_dict(), network(2)
    before = {n: t.clone() for n, t in target.state_dict().items()}
    match = load(target, source, {n for n in source if not n.startswith("fc.")}, False, "w.pt")
    assert match.left_out == ("fc.weight", "fc.bias")
    assert "2 left out" in match.lines()[1]
    assert torch.equal(target.fc.weight, before["fc.weight"])


def test_nothing_in_common_is_refused_even_where_a_part_is_allowed():
    with pytest.raises(UserError, match="another architecture"):
        load(network(1), {"a": torch.ones(1)}, set(network(1).state_dict()), True, "w.pt")


ARCHITECTURES = ("resnet18", "convnext_atto", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "densenet121",
                 "efficientnet_b0", "mobilenetv3_small_100", "deit_tiny_distilled_patch16_224", "inception_v3",
                 "regnety_002", "mixer_s32_224")  # fmt: skip


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_weights_named_as_the_architectures_are_taken_as_they_are(name):
    """Also where stages are lacking: timm's conversions were made for whole files of the original releases."""
    model = timm.create_model(name)
    whole = model.state_dict()
    half = dict(list(whole.items())[: len(whole) // 2])
    for state in (whole, half):
        found = adapted(state, model)
        assert same_bits({n: found[n] for n in state}, dict(state))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_weights_of_another_architecture_are_refused_in_words(name):
    model = timm.create_model(name)
    other = network(1, "test_efficientnet").state_dict()
    with pytest.raises(UserError, match=r"only in part|nowhere: none of"):
        load(model, adapted(other, model), set(model.state_dict()), False, "other.pt")


def test_position_embeddings_are_resampled_to_the_input_size():
    small, large = network(1, "test_vit", img_size=32), network(1, "test_vit", img_size=64)
    found = adapted(large.state_dict(), small)
    assert found["pos_embed"].shape == small.pos_embed.shape
    load(small, found, set(small.state_dict()), False, "w")


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("strategy", ["truncate", "full"])
def test_a_run_of_ours_is_a_source(tmp_path, net, strategy):
    """Its folder is enough; from a truncated one, its kept stages are, under the source architecture's names."""
    first = carried_out(tmp_path / "first", *from_weights(tmp_path, net), f"strategy={strategy}", "trainer.epochs=1")
    again = carried_out(
        tmp_path / "again", f"backbone.name={NETS[net]}", f"backbone.weights={tmp_path / 'first'}",
        f"strategy={strategy}", "strategy.train=0", "trainer.epochs=1",
    )  # fmt: skip
    kept = [name for name in first.weights if not name.startswith(("head.", "fc.", "classifier."))]
    assert len(kept) > 5
    assert all(torch.equal(first.weights[name], again.weights[name]) for name in kept)
    source = timm.create_model(NETS[net], **({"img_size": 32} if net == "vit" else {})).state_dict()
    assert set(kept) <= set(source)


def test_a_truncated_runs_weights_do_not_pass_for_a_whole_network(tmp_path):
    carried_out(tmp_path / "first", *from_weights(tmp_path, "demo"), "strategy=truncate", "trainer.epochs=1")
    with pytest.raises(UserError, match=r"only in part.*Missing: fc1"):
        carried_out(
            tmp_path / "x", "backbone.name=thawlab_demo", f"backbone.weights={tmp_path / 'first'}", "strategy=full"
        )


def test_a_file_can_be_named_from_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    random_weights(tmp_path / "w.safetensors", "thawlab_demo")
    assert read_weights("~/w.safetensors")[0]
