import math

import pytest
import torch
from torch import nn

from thawlab.backbones.heads import CosineHead, HeadSpec, build_head
from thawlab.errors import UserError


def test_linear_is_a_plain_linear_layer():
    head = build_head(HeadSpec(), 3, 2)
    assert type(head) is nn.Linear
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1.0, 0.0, 2.0], [0.0, -1.0, 1.0]]))
        head.bias.copy_(torch.tensor([0.5, 0.0]))
    assert head(torch.tensor([[1.0, 2.0, 3.0]])).tolist() == [[7.5, 1.0]]


def test_mlp_by_hand():
    head = build_head(HeadSpec("mlp", hidden=(2, 3)), 2, 1)
    weights = [[[1.0, -1.0], [1.0, 1.0]], [[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]], [[1.0, 2.0, 100.0]]]
    with torch.no_grad():
        for layer, weight in zip([m for m in head.modules() if isinstance(m, nn.Linear)], weights, strict=True):
            layer.weight.copy_(torch.tensor(weight))
            layer.bias.fill_(1.0)
    # [1, 3] -> relu [-1, 5] = [0, 5] -> relu [1, 6, -4] = [1, 6, 0] -> 1 + 12 + 0 + 1
    assert head(torch.tensor([[1.0, 3.0]])).item() == 14.0


def test_cosine_by_hand():
    head = build_head(HeadSpec("cosine", scale=10.0), 2, 3)
    assert isinstance(head, CosineHead)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[5.0, 0.0], [0.0, 0.1], [-2.0, -2.0]]))
    logits = head(torch.tensor([[3.0, 4.0], [300.0, 400.0]]))
    expected = [10 * 0.6, 10 * 0.8, -10 * (3 + 4) / (5 * math.sqrt(2))]
    torch.testing.assert_close(logits, torch.tensor([expected, expected]))


def test_cosine_survives_a_feature_of_zeros():
    head = build_head(HeadSpec("cosine"), 4, 3)
    logits = head(torch.zeros(2, 4, requires_grad=True))
    logits.sum().backward()
    assert logits.abs().max() == 0
    assert all(torch.isfinite(p.grad).all() for p in head.parameters())


@pytest.mark.parametrize("spec", [HeadSpec(dropout=0.5), HeadSpec("mlp", (8,), 0.5), HeadSpec("cosine", dropout=0.5)])
def test_dropout_acts_in_training_alone(spec):
    head = build_head(spec, 64, 5)
    features = torch.randn(3, 64)
    assert not torch.equal(head(features), head(features))
    head.eval()
    assert torch.equal(head(features), head(features))
    assert sum(isinstance(m, nn.Dropout) for m in head.modules()) == 1 + len(spec.hidden)


def test_heads_take_a_seed():
    made = []
    for _ in range(2):
        torch.manual_seed(3)
        made.append(build_head(HeadSpec("cosine"), 6, 4).state_dict()["weight"])
    assert torch.equal(*made)


def test_heads_can_be_traced():
    for spec in (HeadSpec(), HeadSpec("mlp", (4,), 0.1), HeadSpec("cosine")):
        head = build_head(spec, 6, 3).eval()
        features = torch.randn(2, 6)
        assert torch.equal(torch.fx.symbolic_trace(head)(features), head(features))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "linaer"}, "head.kind is 'linaer'. Did you mean 'linear'"),
        ({"kind": "mlp"}, "head.hidden is []"),
        ({"kind": "linear", "hidden": [8]}, "head.kind is 'linear' and head.hidden is [8]"),
        ({"kind": "mlp", "hidden": [8, 0]}, "head.hidden[1] is 0"),
        ({"dropout": 1.0}, "head.dropout is 1.0"),
        ({"kind": "cosine", "scale": 0.0}, "head.scale is 0.0"),
    ],
)
def test_a_bad_setting_is_named(settings, message):
    with pytest.raises(UserError) as caught:
        HeadSpec(**settings)
    assert message in str(caught.value)
