import pytest

from thawlab.module import Plateaus


def by_hand(values, patience, higher):
    """The epochs at which a stage thaws, written as one would explain it."""
    thawed, best, waited = [], None, 0
    for epoch, value in enumerate(values):
        gained = best is None or (value > best if higher else value < best)
        if gained:
            best, waited = value, 0
        else:
            waited += 1
        if waited == patience:
            thawed.append(epoch + 1)
            waited = 0
    return thawed


@pytest.mark.parametrize(
    ("values", "patience", "higher", "expected"),
    [
        pytest.param([0.1, 0.2, 0.3], 1, True, [], id="always better: nothing thaws"),
        pytest.param([0.5, 0.5, 0.5, 0.5], 1, True, [2, 3, 4], id="no gain: a stage each epoch"),
        pytest.param([0.5, 0.4, 0.6, 0.5, 0.5], 2, True, [5], id="a gain starts the wait anew"),
        pytest.param([1.0, 0.9, 0.9, 0.8, 0.9], 1, False, [3, 5], id="a loss is better when lower"),
    ],
)
def test_plateaus(values, patience, higher, expected):
    plateaus = Plateaus(patience, higher)
    for epoch, value in enumerate(values):
        plateaus.observe(value, epoch)
    assert plateaus.epochs == expected == by_hand(values, patience, higher)
