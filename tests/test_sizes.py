"""Other sizes than the source's."""

import pytest
import timm
import torch
from safetensors.torch import save_file
from small_runs import same_bits
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from thawlab.backbones.build import build
from thawlab.backbones.heads import HeadSpec
from thawlab.backbones.sizes import check_runs, sizes_near
from thawlab.backbones.spec import BackboneSpec
from thawlab.errors import UserError
from thawlab.strategy import Strategy


def built(spec, channels=3, **strategy):
    return build(spec, HeadSpec(), Strategy("s", **strategy), 3, 0.1, 0, channels)


def saved(tmp_path, model, **metadata):
    path = tmp_path / "w.safetensors"
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, path, metadata or None)
    return str(path)


@pytest.mark.filterwarnings("ignore:torch.searchsorted", "ignore:Using a non-tuple")  # timm's own, of Swin's tables
@pytest.mark.parametrize(
    ("name", "size", "said"),
    [
        pytest.param("test_vit", 96, "(pos_embed) resampled from 10x10 to 6x6", id="ViT"),
        pytest.param("deit_tiny_distilled_patch16_224", 96, "(pos_embed) resampled from 14x14 to 6x6", id="DeiT"),
        pytest.param("swin_tiny_patch4_window7_224", 96, "windows of 7x7 to 6x6", id="Swin"),
        pytest.param("test_resnet", 96, "nothing to resample", id="ResNet"),
    ],
)
def test_at_another_size_the_weights_are_what_timm_makes_of_them(tmp_path, name, size, said):
    source = timm.create_model(name)
    native = source.pretrained_cfg["input_size"][-1]
    overlay = {"file": saved(tmp_path, source)}
    fixed = {"img_size": size} if source.pretrained_cfg["fixed_input_size"] else {}
    timms = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **fixed).state_dict()
    found = built(BackboneSpec(name, weights=overlay["file"], size=size))
    own = {key: value for key, value in found.network.state_dict().items() if not key.startswith(("head", "fc"))}
    assert same_bits(own, {key: timms[key] for key in own})
    (line,) = found.notes
    assert line.startswith(f"images of {size} pixels, the source saw {native}: ")
    assert said in line


def test_the_cost_of_a_convolutional_network_follows_its_area(tmp_path):
    model = timm.create_model("test_resnet").eval()
    costs = []
    for size in (80, 160):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(torch.zeros(1, 3, size, size))
        costs.append(counter.get_total_flops())
    said = f"costs {costs[0] / costs[1]:.2f} times that at 160 (its file does not say: 160 is usual)"
    assert said in built(BackboneSpec("test_resnet", weights=saved(tmp_path, model), size=80)).notes[0]


@pytest.mark.parametrize(
    ("made_for", "told", "size", "expected"),
    [
        pytest.param(96, {}, 96, None, id="as the file's embeddings are: nothing to say"),
        pytest.param(96, {"size": "96"}, None, None, id="the file says its size"),
        pytest.param(160, {}, None, None, id="as usual"),
        pytest.param(96, {}, 160, "the source saw another size: position embeddings", id="another than usual"),
        pytest.param(96, {"size": "96"}, 160, "the source saw 96: position embeddings", id="a run's file"),
    ],
)
def test_what_the_source_saw_is_told_as_far_as_it_is_known(tmp_path, made_for, told, size, expected):
    path = saved(tmp_path, timm.create_model("test_vit", img_size=made_for), **told)
    notes = built(BackboneSpec("test_vit", weights=path, size=size)).notes
    assert bool(notes) == (expected is not None)
    if expected:
        assert expected in notes[0]


def test_nothing_is_said_of_a_random_start():
    assert built(BackboneSpec("test_vit", size=96), weights="random").notes == ()


@pytest.mark.parametrize(
    ("name", "library", "size", "says"),
    [
        pytest.param("test_vit", "timm", 100, r"divisible by patch size \(16\).*that work: 96, 112", id="patches"),
        pytest.param("eva02_tiny_patch14_224", "timm", 100, r"patches are of 14 .*that work: 98, 112", id="of 14"),
        pytest.param("levit_128s", "timm", 100, r"does not run .*that work: 96, 112", id="attention biases"),
        pytest.param(
            "vit_b_32", "torchvision", 100, r"indivisible by patch size.*that work: 96, 128", id="torchvision"
        ),
        pytest.param("inception_v3", "timm", 70, r"InceptionV3 does not run .*that work: 80", id="too small"),
        pytest.param("maxvit_t", "torchvision", 100, r"not divisible by partition size", id="windows"),
    ],
)
def test_a_size_that_a_network_cannot_take_is_refused_with_those_that_it_can(name, library, size, says):
    with pytest.raises(UserError, match=rf"backbone\.size is {size}.*{says}"):
        built(BackboneSpec(name, library=library, size=size), weights="random")


def test_a_published_size_that_its_patches_do_not_fill_is_taken():
    with torch.device("meta"):
        model = timm.create_model("vit_so400m_patch14_siglip_384")
    check_runs(model, BackboneSpec("vit_so400m_patch14_siglip_384"), 384, 3)


def test_weights_that_cannot_be_resampled_are_told_so(tmp_path):
    path = saved(tmp_path, timm.create_model("levit_128s"))
    with pytest.raises(UserError, match=r"attention_biases .*saw images of 224 pixels, and backbone\.size is 96"):
        built(BackboneSpec("levit_128s", weights=path, size=96))


FLAT = """
from torch import nn

class Flat(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def forward(self, images):
        return self.fc(images.mean((2, 3)))
"""


def test_a_network_that_reads_three_channels_alone_is_refused(tmp_path):
    (tmp_path / "nets.py").write_text(FLAT)
    spec = BackboneSpec("net", function=f"{tmp_path / 'nets.py'}:Flat", size=32, mean=(0.5,) * 4, std=(0.5,) * 4)
    with pytest.raises(UserError, match=r"dataset\.channels is 4, but Flat does not run .* with 4 channels"):
        built(spec, 4, weights="random")


def test_a_network_that_gives_no_tensor_is_refused():
    class Two(nn.Module):
        def forward(self, images):
            return images, images

    with pytest.raises(UserError, match="it gives a tuple in place of a tensor"):
        check_runs(Two(), BackboneSpec("resnet18"), 32, 3)


def test_sizes_near_are_the_nearest_that_work():
    assert sizes_near(100, lambda size: size % 16 == 0) == [96, 112]
    assert sizes_near(20, lambda size: size >= 80) == [80]
    assert sizes_near(100, lambda size: False) == []
