"""One small network of each of timm's families: stages in the order of a real run, and each way to train."""

import copy

import pytest
import pytorch_lightning as pl
import timm
import torch
from torch.utils.data import DataLoader

from thawlab.audit import check, digests
from thawlab.backbones.build import Built, build
from thawlab.backbones.heads import HeadSpec
from thawlab.backbones.sizes import built_for
from thawlab.backbones.source import build_random
from thawlab.backbones.spec import BackboneSpec
from thawlab.freezing import optimized
from thawlab.module import TransferModule
from thawlab.optimizer import OptimizerSpec
from thawlab.schedule import ScheduleSpec
from thawlab.stages import split_into_stages
from thawlab.strategy import Strategy

# Family (timm's module) -> its network with the fewest parameters, and the least size at which it trains.
FAMILIES = {
    "beit": ("beit_base_patch16_224", 32),
    "byoanet": ("halonet_h1", 256),
    "byobnet": ("test_byobnet", 32),
    "cait": ("cait_xxs24_224", 32),
    "coat": ("coat_tiny", 32),
    "convit": ("convit_tiny", 32),
    "convmixer": ("convmixer_768_32", 32),
    "convnext": ("test_convnext", 32),
    "cpubone": ("cpubone_nano", 32),
    "crossvit": ("crossvit_tiny_240", 28),
    "csatv2": ("csatv2", 64),
    "cspnet": ("cs3darknet_focus_s", 32),
    "cspnext": ("cspnext_tiny", 32),
    "davit": ("davit_tiny", 32),
    "deepseek_vit": ("deepseek_vit_412m", 28),
    "deit": ("deit_tiny_patch16_224", 32),
    "densenet": ("densenet121", 32),
    "dla": ("dla46x_c", 32),
    "dpn": ("dpn48b", 32),
    "edgenext": ("edgenext_xx_small", 32),
    "efficientformer": ("efficientformer_l1", 224),
    "efficientformer_v2": ("efficientformerv2_s0", 32),
    "efficientnet": ("test_efficientnet", 32),
    "efficientvim": ("efficientvim_m1", 32),
    "efficientvit_mit": ("efficientvit_b0", 32),
    "efficientvit_msra": ("efficientvit_m0", 32),
    "eva": ("vit_tiny_patch16_dinov3_qkvb", 32),
    "fasternet": ("fasternet_t0", 32),
    "fastvit": ("fastvit_t8", 32),
    "focalnet": ("focalnet_tiny_srf", 32),
    "gcvit": ("gcvit_xxtiny", 32),
    "gemma4_vit": ("gemma4_vit_167m", 32),
    "ghostnet": ("ghostnet_050", 32),
    "hardcorenas": ("hardcorenas_b", 32),
    "hgnet": ("hgnetv2_b0", 32),
    "hiera": ("hiera_tiny_224", 32),
    "hieradet_sam2": ("sam2_hiera_tiny", 32),
    "hrnet": ("hrnet_w18_small", 32),
    "iformer": ("iformer_t", 32),
    "inception_next": ("inception_next_atto", 32),
    "inception_resnet_v2": ("inception_resnet_v2", 96),
    "inception_v3": ("inception_v3", 96),
    "inception_v4": ("inception_v4", 96),
    "lcnetv2": ("lcnetv2_small", 32),
    "levit": ("levit_128s", 32),
    "lowformer": ("lowformer_b0", 32),
    "mambaout": ("test_mambaout", 32),
    "maxxvit": ("test_coatnet", 32),
    "metaformer": ("poolformerv2_s12", 32),
    "mlp_mixer": ("gmlp_ti16_224", 32),
    "mobilenetv3": ("mobilenetv3_small_050", 32),
    "mobilenetv5": ("mobilenetv5_base", 32),
    "mobilevit": ("mobilevit_xxs", 32),
    "mvitv2": ("mvitv2_tiny", 32),
    "naflexvit": ("naflexvit_base_patch16_parfac_gap", 32),
    "nasnet": ("nasnetalarge", 32),
    "nest": ("nest_tiny", 32),
    "nextvit": ("nextvit_small", 32),
    "nfnet": ("test_nfnet", 32),
    "pit": ("pit_ti_224", 32),
    "pnasnet": ("pnasnet5large", 32),
    "pvt_v2": ("pvt_v2_b0", 32),
    "qwen3_vit": ("qwen3_vit_88m", 32),
    "rdnet": ("rdnet_tiny", 32),
    "regnet": ("regnetx_002", 32),
    "repghost": ("repghostnet_050", 32),
    "repvit": ("repvit_m1", 32),
    "res2net": ("res2next50", 32),
    "resnest": ("resnest14d", 32),
    "resnet": ("test_resnet", 32),
    "resnetv2": ("resnetv2_18", 32),
    "rexnet": ("rexnet_100", 32),
    "selecsls": ("selecsls42", 32),
    "senet": ("legacy_seresnet18", 32),
    "sequencer": ("sequencer2d_s", 32),
    "shvit": ("shvit_s1", 32),
    "sknet": ("skresnet18", 32),
    "starnet": ("starnet_s050", 32),
    "swiftformer": ("swiftformer_xs", 32),
    "swin_transformer": ("swin_tiny_patch4_window7_224", 32),
    "swin_transformer_v2": ("swinv2_tiny_window8_256", 32),
    "swin_transformer_v2_cr": ("swinv2_cr_tiny_224", 32),
    "tiny_vit": ("tiny_vit_5m_224", 32),
    "tnt": ("tnt_s_legacy_patch16_224", 32),
    "tresnet": ("tresnet_m", 32),
    "twins": ("twins_svt_small", 32),
    "vgg": ("vgg11", 32),
    "visformer": ("visformer_tiny", 32),
    "vision_transformer": ("test_vit", 32),
    "vision_transformer_hybrid": ("vit_tiny_r_s16_p8_224", 32),
    "vision_transformer_relpos": ("test_vit_relpos", 32),
    "vision_transformer_sam": ("samvit_base_patch16_224", 32),
    "vitamin": ("vitamin_small_224", 32),
    "volo": ("volo_d1_224", 32),
    "vovnet": ("ese_vovnet19b_slim_dw", 32),
    "xception": ("legacy_xception", 32),
    "xception_aligned": ("xception41p", 32),
    "xcit": ("xcit_nano_12_p8_224", 32),
}
CLASSES = 3
STRATEGIES = {
    "freeze": Strategy("freeze", weights="random", train=0),
    "truncate": Strategy("truncate", weights="random", keep=0.5, train=0),
    "partial": Strategy("partial", weights="random", train=0.5),
    "full": Strategy("full", weights="random"),
}
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec"),  # Lightning's own use of torch
    pytest.mark.filterwarnings("ignore:Found .* module.s. in eval mode"),
]


def test_every_family_of_timm_is_here():
    ours = {name for name in timm.list_modules() if name == "demo"}
    assert set(timm.list_modules()) - ours == set(FAMILIES)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_stage_never_feeds_an_earlier_one_and_freezing_leaves_exactly_its_stages_without_gradients(family):
    name, size = FAMILIES[family]
    network = build_random(BackboneSpec(name, size=size), seed=0).eval()
    stages = split_into_stages(network, size=size)
    images = torch.rand(2, 3, size, size)
    used = with_gradients(network, images)
    last = max(i for i, stage in enumerate(stages) if stage.parameters)  # some have no classifier by default
    depths = sorted({1, (last + 1) // 2, last})
    for k in depths:
        frozen = {parameter for stage in stages[:k] for parameter in stage.parameters}
        for parameter in frozen:
            network.get_parameter(parameter).requires_grad_(False)
        assert with_gradients(network, images) == used - frozen
    for k in reversed(depths):
        assert not poisoned(network, stages, k, images), stages[k].name


def with_gradients(network, images):
    network.train().eval()  # LeViT keeps what it computes in evaluation, with its graph, until it trains
    logits = network(images)
    parameters = {name: one for name, one in network.named_parameters() if one.requires_grad}
    loss = (logits * torch.rand_like(logits)).sum()
    gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    return {name for name, gradient in zip(parameters, gradients, strict=True) if gradient is not None}


def poisoned(network, stages, k, images):
    """Modules of the first `k` stages that a NaN in any later parameter, put there, reaches when first called."""
    found, handles, seen = [], [], set()

    def note(path):
        def hook(_module, args):
            values = [value for value in args if isinstance(value, torch.Tensor) and value.is_floating_point()]
            if path not in seen and any(value.isnan().any() for value in values):
                found.append(path)
            seen.add(path)

        return hook

    for stage in stages[:k]:
        for path in {parameter.rpartition(".")[0] for parameter in stage.parameters} - {""}:
            handles.append(network.get_submodule(path).register_forward_pre_hook(note(path)))
    network.train().eval()
    with torch.no_grad():
        for stage in stages[k:]:
            for parameter in stage.parameters:
                network.get_parameter(parameter).fill_(torch.nan)
        assert network(images).isnan().any()
    for handle in handles:
        handle.remove()
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_each_way_to_train_keeps_its_promises(monkeypatch, family):
    name, size = FAMILIES[family]
    spec = BackboneSpec(name, size=size)
    source = built_for(spec, 0, 3)
    # Drawn once: drawing its weights takes most of a large network's building.
    monkeypatch.setattr("thawlab.backbones.reading.built_for", lambda *_: copy.deepcopy(source))
    broken = []
    for strategy in STRATEGIES.values():
        built = build(spec, HeadSpec(), strategy, CLASSES, lr=1e-3, seed=0)
        audit = trained_two_steps(built, size)
        broken += [f"{strategy.name}: {line}" for line in audit.checks if "BROKEN" in line]
        assert audit.passed == (not any("BROKEN" in line for line in audit.checks))
        dealt = sorted(parameter for stage in built.stages for parameter in stage.parameters)
        assert dealt == sorted(parameter for parameter, _ in built.network.named_parameters())
    assert not broken


def trained_two_steps(built: Built, size: int):
    module = TransferModule(built.network, built.stages, built.plan, OptimizerSpec(), ScheduleSpec("constant"), CLASSES)
    before = digests(built.network)
    batch = (torch.rand(4, 3, size, size), torch.arange(4) % CLASSES, torch.arange(4))
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader([batch, batch], batch_size=None), DataLoader([batch], batch_size=None))
    assert trainer.global_step == 2
    held = optimized(built.network, built.stages, trainer.optimizers[0].param_groups)
    return check(before, digests(built.network), built.stages, module.stages_trained, built.plan.norm, held)
