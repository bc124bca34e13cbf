import pytest
import torch
from small_runs import carried_out, from_weights, same_bits

from thawlab import training
from thawlab.averaging import Averaging
from thawlab.module import TransferModule

DECAY = 0.8
WORDS = ["trainer.epochs=3", f"trainer.ema_decay={DECAY}", "optimizer.lr=0.01", "schedule=constant"]


@pytest.fixture
def watched(monkeypatch):
    """The weights before the first step and after each, the averages at each validation, as a run goes on."""
    seen = {"trained": [], "validated": [], "audited": []}

    def state(module):
        return {name: tensor.clone() for name, tensor in module.network.state_dict().items()}

    def start(self):
        seen["trained"].append(state(self))

    def step(self, outputs, batch, index):
        seen["trained"].append(state(self))

    end = TransferModule.on_validation_epoch_end

    def validated(self):
        seen["validated"].append(state(self))
        end(self)

    digests = training.digests

    def audited(network):
        seen["audited"].append({name: tensor.clone() for name, tensor in network.state_dict().items()})
        return digests(network)

    monkeypatch.setattr(TransferModule, "on_train_start", start)
    monkeypatch.setattr(TransferModule, "on_train_batch_end", step)
    monkeypatch.setattr(TransferModule, "on_validation_epoch_end", validated)
    monkeypatch.setattr(training, "digests", audited)
    return seen


def averages_by_hand(states, per_epoch):
    """The average at the end of each epoch; whole numbers are the weights' own."""
    average, found = {name: tensor.double() for name, tensor in states[0].items()}, []
    for number, state in enumerate(states[1:], 1):
        for name, tensor in state.items():
            whole = not tensor.is_floating_point()
            average[name] = tensor.double() if whole else DECAY * average[name] + (1 - DECAY) * tensor.double()
        if number % per_epoch == 0:
            found.append(dict(average))
    return found


def assert_near(found, expected):
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name].double(), tensor, rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize("strategy", [["strategy=full"], ["strategy=gradual", "strategy.thaw.epochs=1"]])
def test_what_is_validated_and_left_is_the_average_over_the_steps(tmp_path, watched, strategy):
    left = carried_out(tmp_path / "run", *from_weights(tmp_path, "resnet"), *WORDS, *strategy)
    assert left.record.status == "finished", left.record.reason
    expected = averages_by_hand(watched["trained"], per_epoch=2)
    assert len(expected) == len(watched["validated"]) == 3
    for found, average in zip(watched["validated"], expected, strict=True):
        assert_near(found, average)
    assert same_bits(left.weights, watched["validated"][left.record.best_epoch])
    last = watched["trained"][-1]
    assert not same_bits(left.weights, last)
    assert any("moving average: head: trained" in line for line in left.record.audit["checks"])


@pytest.mark.parametrize("norm", ["source", "adapt"])
def test_what_is_frozen_stays_as_it_is_to_the_last_bit(tmp_path, watched, norm):
    words = [*from_weights(tmp_path, "resnet"), *WORDS, f"strategy.norm={norm}"]
    left = carried_out(tmp_path / "run", *words, "strategy=freeze")
    assert left.record.status == "finished", left.record.reason
    source = watched["trained"][0]
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    for name, tensor in left.weights.items():
        if not name.startswith("fc.") and (norm == "source" or not name.endswith(statistics)):
            assert torch.equal(tensor, source[name]), name


def test_the_audit_sees_both_the_weights_that_trained_and_the_average(tmp_path, watched):
    carried_out(tmp_path / "run", *from_weights(tmp_path, "demo"), *WORDS, "strategy=full")
    before, average, trained = watched["audited"]
    assert same_bits(before, watched["trained"][0])
    assert same_bits(average, watched["validated"][-1])
    assert same_bits(trained, watched["trained"][-1])


def test_a_promise_broken_in_training_is_not_hidden_by_the_average(tmp_path, monkeypatch):
    """After the last step, so that the average has nothing of it."""
    take_in = Averaging._take_in

    def sabotaged(self, network):
        take_in(self, network)
        if self.steps == 6:
            with torch.no_grad():
                next(network.conv1.parameters()).add_(1)

    monkeypatch.setattr(Averaging, "_take_in", sabotaged)
    left = carried_out(tmp_path / "run", *from_weights(tmp_path, "demo"), *WORDS, "strategy=freeze")
    assert left.record.status == "failed"
    assert "broken promise: conv1: frozen, but 1 changed - BROKEN" in left.record.reason
    assert "moving average" not in left.record.reason


class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.one = torch.nn.Linear(3, 3, bias=False)
        self.other = torch.nn.Linear(3, 3, bias=False)
        self.other.weight = self.one.weight
        self.register_buffer("steps", torch.tensor(3))


def test_shared_weights_are_swapped_once():
    averaging, network = Averaging(DECAY), Network()
    weight = network.one.weight.detach().clone()
    averaging.away = {"one.weight": torch.zeros(3, 3), "steps": torch.tensor(9)}
    averaging._swap(network)
    assert averaging.shown
    assert not network.other.weight.any()
    assert network.steps == 9
    with averaging.trained(network):
        assert torch.equal(network.other.weight, weight)
        assert not averaging.shown
    assert not network.one.weight.any()


def test_the_sign_of_a_zero_and_the_last_bit_of_what_stands_still_stay():
    averaging, network = Averaging(0.999), Network()
    with torch.no_grad():
        network.one.weight[0] = -0.0
    averaging.away = {"one.weight": network.one.weight.detach().clone(), "steps": torch.tensor(0)}
    for _ in range(5):
        averaging._take_in(network)
    assert torch.equal(averaging.away["one.weight"].view(torch.int32), network.one.weight.detach().view(torch.int32))
    assert averaging.away["steps"] == 3


def test_its_state_is_plain_and_comes_back(tmp_path):
    averaging, other = Averaging(DECAY), Averaging(DECAY)
    averaging.away, averaging.shown, averaging.steps = {"w": torch.ones(2)}, True, 7
    torch.save(averaging.state_dict(), tmp_path / "state.pt")
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert (other.shown, other.steps) == (True, 7)
    assert torch.equal(other.away["w"], torch.ones(2))


def test_accumulated_batches_are_one_step(tmp_path, watched):
    words = [*from_weights(tmp_path, "demo"), *WORDS, "strategy=full", "trainer.accumulate=2"]
    left = carried_out(tmp_path / "run", *words)
    assert left.record.status == "finished", left.record.reason
    steps = watched["trained"][:1] + watched["trained"][2::2]
    for found, average in zip(watched["validated"], averages_by_hand(steps, per_epoch=2), strict=True):
        assert_near(found, average)
