import pytest
import torch

from thawlab.errors import UserError
from thawlab.optimizer import OptimizerSpec, build_optimizer


def stepped(spec, gradients, rate, decay):
    """One number, after a step for each gradient."""
    weight = torch.nn.Parameter(torch.tensor([2.0], dtype=torch.float64))
    optimizer = build_optimizer(spec, [{"params": [weight], "lr": rate, "weight_decay": decay}])
    for gradient in gradients:
        weight.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
    return weight.item()


def sgd_by_hand(gradients, rate, decay, momentum):
    weight, velocity = 2.0, 0.0
    for gradient in gradients:
        velocity = momentum * velocity + gradient + decay * weight
        weight -= rate * velocity
    return weight


def adamw_by_hand(gradients, rate, decay):
    """Loshchilov & Hutter 2019, algorithm 2, with the decay scaled by the rate, as in torch."""
    weight, m, v = 2.0, 0.0, 0.0
    for t, gradient in enumerate(gradients, 1):
        weight -= rate * decay * weight
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        weight -= rate * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)) ** 0.5 + 1e-8)
    return weight


GRADIENTS = [0.3, -0.7, 1.1, 0.0, 0.2]


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd(momentum):
    spec = OptimizerSpec("sgd", lr=99.0, momentum=momentum)
    assert stepped(spec, GRADIENTS, 0.1, 0.01) == pytest.approx(sgd_by_hand(GRADIENTS, 0.1, 0.01, momentum))


def test_adamw():
    assert stepped(OptimizerSpec("adamw", lr=99.0), GRADIENTS, 0.1, 0.01) == pytest.approx(
        adamw_by_hand(GRADIENTS, 0.1, 0.01)
    )


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_a_parameter_without_a_gradient_keeps_its_bits_and_takes_no_memory(name):
    """On this rests that frozen stages may be in the optimizer from the first step."""
    frozen, trained = (torch.nn.Parameter(torch.randn(5)) for _ in range(2))
    before = frozen.detach().clone()
    optimizer = build_optimizer(OptimizerSpec(name), [{"params": [frozen, trained], "lr": 0.1, "weight_decay": 0.5}])
    for _ in range(3):
        trained.grad = torch.ones(5)
        optimizer.step()
    assert torch.equal(frozen, before)
    assert frozen not in optimizer.state
    assert trained in optimizer.state


@pytest.mark.parametrize(
    ("values", "says"),
    [
        pytest.param({"name": "adam"}, r"optimizer\.name is 'adam'. Did you mean 'adamw'", id="a typo"),
        pytest.param({"lr": 0.0}, r"optimizer\.lr is 0\.0", id="no rate"),
        pytest.param({"weight_decay": -0.1}, r"optimizer\.weight_decay is -0\.1", id="negative decay"),
        pytest.param({"momentum": 1.0}, r"optimizer\.momentum is 1\.0", id="momentum of one"),
    ],
)
def test_what_cannot_work_is_refused(values, says):
    with pytest.raises(UserError, match=says):
        OptimizerSpec(**values)
