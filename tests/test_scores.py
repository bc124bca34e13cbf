import numpy as np
import torch

from thawlab.scores import MAIN, SCORES, MeanLoss, per_class


def test_every_task_has_a_main_score_and_a_loss():
    assert SCORES.keys() == MAIN.keys()
    assert all(MAIN[task] in names and "loss" in names for task, names in SCORES.items())


def test_accuracy_by_class():
    counts = torch.tensor([[3, 1, 0], [0, 0, 0], [2, 0, 6]])
    found = per_class(counts, ("a", "b", "c"))
    assert found["a"] == {"accuracy": 0.75, "n": 4}
    assert found["b"]["n"] == 0
    assert np.isnan(found["b"]["accuracy"])
    assert found["c"] == {"accuracy": 0.75, "n": 8}


def test_a_loss_that_is_nan_in_one_batch_is_nan():
    loss = MeanLoss()
    loss.update(torch.tensor(1.0), 5)
    loss.update(torch.tensor(torch.nan), 5)
    assert torch.isnan(loss.compute())
