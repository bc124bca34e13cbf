import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from small_runs import carried_out, from_weights, same_bits

from thawlab.data.augment import AugmentSpec
from thawlab.data.mixing import Mixing
from thawlab.module import TransferModule

CLASSES = 7


def mixing(mixup=0.0, cutmix=0.0, classes=CLASSES, seed=3):
    return Mixing(AugmentSpec("mine", mixup=mixup, cutmix=cutmix), classes, seed)


def batch(n, size=12, channels=3):
    """Images no two of whose pixels are alike, and of each its own class."""
    images = torch.randn(n, channels, size, size, generator=torch.Generator().manual_seed(n))
    return images, torch.arange(n)


def own_shares(targets):
    """What each image has kept of its own class."""
    return targets.diagonal()


@settings(deadline=None, max_examples=20)
@given(n=st.integers(2, CLASSES), alpha=st.sampled_from([0.1, 0.2, 1.0, 4.0]), place=st.integers(0, 999))
def test_mixup_blends_images_and_labels_in_the_same_shares(n, alpha, place):
    images, labels = batch(n)
    before = images.clone()
    mixed, targets = mixing(mixup=alpha)(images, labels, 0, place, 0)
    share = float(own_shares(targets)[0])
    for i in range(n):
        expected = share * before[i] + (1 - share) * before[i - 1]
        torch.testing.assert_close(mixed[i], expected)
        assert targets[i, i] == pytest.approx(share)
        assert targets[i, (i - 1) % n] == pytest.approx(1 - share)
    assert targets.sum(dim=1).tolist() == pytest.approx([1] * n)
    assert torch.equal(images, before), "the batch that was given stays as it was"


@settings(deadline=None, max_examples=20)
@given(n=st.integers(2, CLASSES), alpha=st.sampled_from([0.2, 1.0, 4.0]), place=st.integers(0, 999))
def test_cutmix_pastes_a_rectangle_and_counts_its_area(n, alpha, place):
    images, labels = batch(n)
    mixed, targets = mixing(cutmix=alpha)(images, labels, 0, place, 0)
    for i in range(n):
        own, other = (mixed[i] == images[i]).all(0), (mixed[i] == images[i - 1]).all(0)
        assert torch.equal(own, ~other), "every pixel is of one of the two"
        rows, columns = other.any(1), other.any(0)
        assert torch.equal(other, rows[:, None] & columns), "a rectangle"
        assert (rows.int().diff().abs().sum() <= 2) & (columns.int().diff().abs().sum() <= 2), "in one piece"
        assert targets[i, i] == pytest.approx(float(own.float().mean()), abs=1e-6)
        assert targets[i].sum() == pytest.approx(1)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_mixup_draws_its_share_from_the_beta_distribution(alpha):
    mix, (images, labels) = mixing(mixup=alpha), batch(2, size=1)
    drawn = [float(mix(images, labels, 0, place, 0)[1][0, 0]) for place in range(600)]
    assert stats.kstest(drawn, stats.beta(alpha, alpha).cdf).pvalue > 0.01


def area_by_hand(rng, alpha, size):
    """The share of an image that stays its own, drawn as Yun et al. write it."""
    side = np.sqrt(1 - rng.beta(alpha, alpha)) * size
    (x, y), half = rng.integers(0, size, 2), int(side / 2)
    width, height = (min(c + half, size) - max(c - half, 0) for c in (x, y))
    return 1 - width * height / size**2


def test_cutmix_draws_its_area_as_in_the_paper():
    mix, (images, labels), rng = mixing(cutmix=1.0), batch(2, size=40, channels=1), np.random.default_rng(0)
    drawn = [float(mix(images, labels, 0, place, 0)[1][0, 0]) for place in range(600)]
    assert stats.ks_2samp(drawn, [area_by_hand(rng, 1.0, 40) for _ in range(5000)]).pvalue > 0.01


def test_asked_for_both_a_batch_has_one_of_them_at_equal_odds():
    mix, (images, labels) = mixing(mixup=1.0, cutmix=1.0), batch(3)
    blended = 0
    for place in range(300):
        mixed, _ = mix(images, labels, 0, place, 0)
        blended += not ((mixed == images) | (mixed == images.roll(1, 0))).all()
    assert 120 < blended < 180


def test_what_is_drawn_follows_from_seed_epoch_batch_and_rank_alone():
    images, labels = batch(5)
    place = (2, 1, 1)
    first = mixing(0.4, 0.4)(images, labels, *place)
    state = torch.get_rng_state()
    mix = mixing(0.4, 0.4)
    mix(images, labels, 0, 0, 0)
    assert torch.equal(torch.get_rng_state(), state), "drawing must not move anyone else's random numbers"
    torch.rand(5)
    again = mix(images, labels, *place)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    for other in ((1, 1, 1), (2, 2, 1), (2, 1, 0), (1, 2, 1)):
        assert not torch.equal(mix(images, labels, *other)[0], first[0])
    assert not torch.equal(mixing(0.4, 0.4, seed=4)(images, labels, *place)[0], first[0])


@pytest.mark.parametrize("way", [{"mixup": 1.0}, {"cutmix": 1.0}])
def test_labels_of_several_classes_mix_too(way):
    images, _ = batch(3)
    labels = torch.tensor([[1.0, 1, 0], [0, 1, 1], [0, 0, 0]])
    _, targets = mixing(**way, classes=3)(images, labels, 0, 5, 0)
    share = float(targets[0, 0])
    assert 0 < share < 1
    torch.testing.assert_close(targets, share * labels + (1 - share) * labels[[2, 0, 1]])
    assert labels.unique().tolist() == [0, 1], "the labels that were given stay as they were"


@pytest.mark.parametrize("way", [{"mixup": 1.0}, {"cutmix": 1.0}])
def test_an_image_alone_in_its_batch_stays_itself(way):
    images, labels = batch(1)
    mixed, targets = mixing(**way)(images, labels, 0, 0, 0)
    torch.testing.assert_close(mixed, images)
    assert targets[0].tolist() == pytest.approx([1] + [0] * (CLASSES - 1))


def test_a_run_trains_on_mixed_batches_and_says_their_loss(tmp_path, monkeypatch):
    words = [*from_weights(tmp_path, "demo"), "strategy=full", "augment=strong", "trainer.sampling=balanced"]
    losses, step = [], TransferModule.training_step

    def watched(self, batch, place):
        passed = []
        hook = self.network.register_forward_hook(lambda _, given, logits: passed.extend([given[0], logits]))
        loss = step(self, batch, place)
        hook.remove()
        images, targets = mixing(0.2, 1.0, classes=10, seed=0)(*batch[:2], self.current_epoch, place, 0)
        assert torch.equal(passed[0], images)
        expected = -(targets * passed[1].log_softmax(dim=1)).sum(dim=1).mean()
        losses.append((loss.item(), expected.item()))
        return loss

    with monkeypatch.context() as patched:
        patched.setattr(TransferModule, "training_step", watched)
        first = carried_out(tmp_path / "1", *words)
    assert len(losses) == 4
    assert [found for found, _ in losses] == pytest.approx([expected for _, expected in losses], rel=1e-5)
    assert first.curves[-1]["train/loss"] == pytest.approx(np.mean([found for found, _ in losses[2:]]), rel=1e-5)
    torch.rand(3)
    again = carried_out(tmp_path / "2", *words)
    assert same_bits(first.weights, again.weights)
    assert first.curves == again.curves
