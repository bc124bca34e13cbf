import logging

import pytest
import torch
from small_runs import config_of, from_weights

from thawlab.averaging import Averaging
from thawlab.batch_trial import Bench
from thawlab.prepare import prepare
from thawlab.quiet import quieten


@pytest.fixture(autouse=True)
def _quiet():
    quieten()  # as in the process of its own
    yield
    logging.captureWarnings(False)


@pytest.mark.parametrize("decay", ["null", "0.9"], ids=["no average", "a moving average"])
def test_it_holds_in_memory_what_the_run_will(tmp_path, monkeypatch, decay):
    held = []
    start = Averaging.on_train_start

    def watched(self, trainer, module):
        start(self, trainer, module)
        held.append((self.decay, {name: tensor.shape for name, tensor in self.away.items()}))

    monkeypatch.setattr(Averaging, "on_train_start", watched)
    prepared = prepare(config_of(*from_weights(tmp_path, "demo"), "strategy=full", f"trainer.ema_decay={decay}"))
    answer = Bench(prepared, torch.device("cpu"), None, tmp_path / "trial").attempt(4)
    assert answer["images"] == 4
    state = {name: tensor.shape for name, tensor in prepared.built.network.state_dict().items()}
    assert held == ([] if decay == "null" else [(0.9, state)])


def test_a_trial_leaves_the_weights_as_they_are(tmp_path):
    words = [*from_weights(tmp_path, "demo"), "strategy=full", "trainer.ema_decay=0.9"]
    prepared = prepare(config_of(*words))
    before = {name: tensor.detach().clone() for name, tensor in prepared.built.network.named_parameters()}
    Bench(prepared, torch.device("cpu"), None, tmp_path / "trial").attempt(4)
    for name, tensor in prepared.built.network.named_parameters():
        assert torch.equal(tensor, before[name]), name
