import subprocess
import sys

import pytest
import torch
from torch import nn

from thawlab.costs import FlopCount, Stopwatch, count_flops, peak_memory, reset_peak_memory

CPU = torch.device("cpu")


class Tiny(nn.Module):
    """Convolution 3 -> 4 (3x3, padded), BatchNorm, ReLU, pooled, linear 4 -> 5."""

    def __init__(self, groups: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, 8, 3, stride=2, groups=groups)
        self.fc = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.second(self.norm(self.first(x)).relu())
        return self.fc(x.mean((2, 3)))


class AsksForValues(Tiny):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * (1.0 if x.sum().item() >= 0 else 2.0)


# One 3x9x9 image: multiplications and additions of each layer, places x kernel x channels in x channels out.
FIRST = 2 * 81 * 9 * 3 * 4
SECOND = 2 * 16 * 9 * 4 * 8
FC = 2 * 8 * 5


def names(model, *layers):
    return [name for name, _ in model.named_parameters() if name.split(".")[0] in layers]


@pytest.mark.parametrize(
    ("layers", "backward"),
    [
        pytest.param((), 0, id="nothing trains"),
        pytest.param(("fc",), FC, id="the head alone: its weights' gradient, none for its input"),
        pytest.param(("second", "fc"), 2 * FC + SECOND, id="the lower convolution is frozen"),
        pytest.param(("norm",), FC + SECOND, id="a frozen head and convolution still pass the gradient down"),
        pytest.param(("first", "norm", "second", "fc"), 2 * FC + 2 * SECOND + FIRST, id="all but the image's gradient"),
    ],
)
@pytest.mark.parametrize("kind", [Tiny, AsksForValues])
def test_flops_by_hand(kind, layers, backward):
    model = kind()
    assert count_flops(model, (3, 9, 9), names(model, *layers)) == FlopCount(FIRST + SECOND + FC, backward)


def test_grouped_convolutions_are_counted_once():
    model = Tiny(groups=4)
    found = count_flops(model, (3, 9, 9), names(model, "first", "norm", "second", "fc"))
    assert found == FlopCount(FIRST + SECOND // 4 + FC, 2 * FC + 2 * SECOND // 4 + FIRST)
    assert found.train == found.forward + found.backward


def test_transposed_convolutions_by_hand():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ConvTranspose2d(4, 6, 2, stride=2), nn.Flatten())
    first, second = 2 * 25 * 3 * 4, 2 * 25 * 4 * 4 * 6
    found = count_flops(model, (3, 5, 5), [name for name, _ in model.named_parameters()])
    assert found == FlopCount(first + second, first + 2 * second)


def test_attention_is_counted_alike_on_meta_and_on_the_cpu():
    class Attention(nn.Module):
        def __init__(self, asks: bool) -> None:
            super().__init__()
            self.qkv, self.asks = nn.Linear(8, 24), asks

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.asks:
                assert x.sum().item() == 0
            q, k, v = self.qkv(x.flatten(1, 2)[:, None]).chunk(3, -1)
            return nn.functional.scaled_dot_product_attention(q, k, v)

    linear, product = 2 * 12 * 8 * 24, 2 * 12 * 12 * 8
    for asks in (False, True):
        found = count_flops(Attention(asks), (3, 4, 8), ["qkv.weight", "qkv.bias"])
        assert found == FlopCount(linear + 2 * product, linear + 4 * product)


@pytest.mark.parametrize("kind", [Tiny, AsksForValues])
def test_counting_leaves_the_model_and_the_random_state_alone(kind):
    model = nn.Sequential(kind(), nn.Dropout(0.5)).eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    count_flops(model, (3, 9, 9), [])
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not model.training
    assert all(p.requires_grad and p.grad is None and p.device == CPU for p in model.parameters())


def test_a_network_that_is_broken_says_so():
    with pytest.raises(RuntimeError, match="shape"):
        count_flops(nn.Linear(3, 2), (4,), [])


RESET = """
import torch
from thawlab.costs import peak_memory, reset_peak_memory

CPU = torch.device("cpu")
can_reset = reset_peak_memory(CPU)
base = peak_memory(CPU)
block = torch.ones(64 << 20, dtype=torch.float32)
del block
assert peak_memory(CPU) - base >= 240 << 20
if can_reset:
    reset_peak_memory(CPU)
    assert peak_memory(CPU) - base < 60 << 20
"""


def test_peak_memory_is_of_the_time_since_the_reset():
    # In a process of its own: what other tests leave to be freed meanwhile would hide what is taken here.
    done = subprocess.run([sys.executable, "-c", RESET], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_peak_memory_agrees_with_getrusage():
    code = (
        "import torch; from thawlab import costs; cpu = torch.device('cpu'); torch.ones(50 << 20);"
        "print(costs.peak_memory(cpu) / costs._peak_by_getrusage())"
    )
    # A shell between: to getrusage, a process begins with the size of the one that started it.
    shell = ["sh", "-c", '"$0" -c "$1"; exit $?', sys.executable, code]
    done = subprocess.run(shell, capture_output=True, text=True, check=True)
    assert float(done.stdout) == pytest.approx(1, abs=0.02)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_peak_memory_on_a_gpu():
    gpu = torch.device("cuda")
    torch.ones(1, device=gpu)
    assert reset_peak_memory(gpu)
    base = peak_memory(gpu)
    block = torch.ones(32 << 20, device=gpu)
    del block
    assert peak_memory(gpu) - base == 128 << 20
    assert reset_peak_memory(gpu)
    assert peak_memory(gpu) == base


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_phase_inside_another_pauses_it():
    clock = Clock()
    watch = Stopwatch(clock)
    clock.now += 1
    with watch("train"):
        clock.now += 2
        with watch("data"):
            clock.now += 3
        clock.now += 4
        with watch("validate"):
            clock.now += 5
            with watch("data"):
                clock.now += 6
    clock.now += 7
    watch.start("test")
    clock.now += 8
    watch.stop("test")
    assert watch.seconds == {"data": 9, "cache": 0, "train": 6, "validate": 5, "test": 8}
    assert watch.total == 36


def test_an_interruption_leaves_no_phase_open():
    clock = Clock()
    watch = Stopwatch(clock)

    def interrupted():
        with watch("train"):
            watch.start("validate")
            clock.now += 2
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    clock.now += 10
    with watch("test"):
        clock.now += 1
    assert watch.seconds == {"data": 0, "cache": 0, "train": 0, "validate": 2, "test": 1}


def test_a_watch_knows_its_phases():
    watch = Stopwatch()
    with pytest.raises(KeyError):
        watch.start("trian")
    with pytest.raises(ValueError, match="train is stopped"):
        watch.stop("train")
