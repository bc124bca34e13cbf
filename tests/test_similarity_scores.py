"""Scores of features against formulas written out, and against scikit-learn."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats
from sklearn.covariance import ledoit_wolf
from sklearn.linear_model import RidgeClassifierCV
from sklearn.model_selection import LeaveOneOut, StratifiedKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from thawlab.similarity import scores

SHAPES = [
    pytest.param(30, 4, 3, id="more images than features"),
    pytest.param(12, 40, 3, id="more features than images"),
    pytest.param(25, 1, 2, id="one feature"),
]


def planted(n, d, classes, seed=0, apart=1.0):
    """Features that depend on their class, and some noise; each class has two images at least."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    return rng.normal(size=(n, d)) + apart * rng.normal(size=(classes, d))[labels], labels


def rotation(d, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))[0]


# LogME


def evidence(features, target):
    """The largest log density of a target under N(0, I / beta + F F' / alpha), searched for and not derived."""

    def density(logs):
        alpha, beta = np.exp(np.clip(logs, -20, 20))  # the best alpha may be infinite
        covariance = np.eye(len(target)) / beta + features @ features.T / alpha
        return stats.multivariate_normal(np.zeros(len(target)), covariance).logpdf(target)

    starts = [(a, b) for a in (-2.0, 2.0, 6.0) for b in (0.0, 3.0)]
    found = [
        optimize.minimize(lambda x: -density(x), s, method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-10})
        for s in starts
    ]
    return -min(one.fun for one in found) / len(target)


@pytest.mark.parametrize(("n", "d", "classes"), [(30, 4, 3), (25, 1, 2), (14, 11, 2), (20, 25, 3)])
def test_log_evidence_is_the_density_of_the_labels_at_the_best_prior_and_noise(n, d, classes):
    features, labels = planted(n, d, classes)
    wanted = np.mean([evidence(features, (labels == c).astype(float)) for c in range(classes)])
    assert scores.log_evidence(features, labels) == pytest.approx(wanted, abs=1e-5)


def test_log_evidence_ranks_features_that_tell_more_higher():
    ranked = [scores.log_evidence(*planted(60, 8, 3, apart=apart)) for apart in (0.0, 0.5, 2.0)]
    assert ranked == sorted(ranked)


def test_log_evidence_of_features_that_tell_nothing_is_that_of_noise_alone():
    labels = np.arange(20) % 2
    noise = -0.5 * (math.log(2 * math.pi * 0.5) + 1)  # N(0, 1 / beta) at beta = n / |y|^2
    assert scores.log_evidence(np.zeros((20, 3)), labels) == pytest.approx(noise)


def test_log_evidence_of_a_perfect_fit_is_finite():
    labels = np.arange(30) % 3
    assert 1 < scores.log_evidence(np.eye(3)[labels], labels) < 100


# LEEP


def test_leep_is_its_formula_written_out():
    rng = np.random.default_rng(0)
    given, labels = rng.dirichlet(np.ones(5), 40), np.arange(40) % 3
    joint = np.zeros((3, 5))
    for row, label in zip(given, labels, strict=True):
        for z in range(5):
            joint[label, z] += row[z] / 40
    total = 0.0
    for row, label in zip(given, labels, strict=True):
        total += math.log(sum(joint[label, z] / sum(joint[y, z] for y in range(3)) * row[z] for z in range(5)))
    assert scores.leep(given, labels) == pytest.approx(total / 40, abs=1e-12)


def test_leep_is_0_where_the_source_classes_are_the_target_classes():
    labels = np.arange(12) % 4
    assert scores.leep(np.eye(6)[labels], labels) == pytest.approx(0)  # two source classes are never named


def test_leep_is_the_entropy_of_the_labels_where_the_source_always_says_the_same():
    labels = np.array([0, 0, 0, 1])
    entropy = stats.entropy([0.75, 0.25])
    assert scores.leep(np.tile([0.2, 0.8], (4, 1)), labels) == pytest.approx(-entropy)


# H-score


def between(features, labels):
    means = np.stack([features[labels == label].mean(axis=0) for label in labels])
    return np.cov(means, rowvar=False, bias=True).reshape(features.shape[1], -1)


@pytest.mark.parametrize(("n", "d", "classes"), SHAPES)
def test_h_score_is_a_trace(n, d, classes):
    features, labels = planted(n, d, classes)
    covariance = np.cov(features, rowvar=False, bias=True).reshape(d, d)
    wanted = np.trace(np.linalg.pinv(covariance, rcond=1e-10) @ between(features, labels))
    assert scores.h_score(features, labels, shrink=False) == pytest.approx(wanted, rel=1e-6)
    shrunk, shrinkage = ledoit_wolf(features)
    wanted = (1 - shrinkage) * np.trace(np.linalg.inv(shrunk) @ between(features, labels))
    assert scores.h_score(features, labels) == pytest.approx(wanted, rel=1e-8)


def test_h_score_of_few_images_in_many_dimensions_is_no_longer_perfect_by_chance():
    features, labels = planted(20, 100, 4, apart=0.0)
    assert scores.h_score(features, labels, shrink=False) == pytest.approx(3)
    assert scores.h_score(features, labels) < 1.5


@given(seed=st.integers(0, 99), n=st.integers(6, 40), d=st.integers(1, 50), classes=st.integers(2, 3))
@settings(max_examples=40, deadline=None)
def test_h_score_lies_between_0_and_classes_less_one(seed, n, d, classes):
    features, labels = planted(n, d, classes, seed)
    for shrink in (True, False):
        assert -1e-9 <= scores.h_score(features, labels, shrink) <= min(classes - 1, d) + 1e-6


# Nearest neighbour


@pytest.mark.parametrize(("n", "d", "classes"), SHAPES)
def test_nearest_neighbour_is_leave_one_out(n, d, classes):
    features, labels = planted(n, d, classes)
    wanted = cross_val_score(KNeighborsClassifier(1), features, labels, cv=LeaveOneOut()).mean()
    assert scores.nearest_neighbour(features, labels) == pytest.approx(wanted, abs=1e-12)


def test_nearest_neighbours_that_are_as_near_share_the_vote():
    features = np.array([[0.0], [1.0], [1.0], [1.0]])
    # The first has three neighbours, one of its class; each other has two copies of itself.
    assert scores.nearest_neighbour(features, np.array([0, 0, 1, 1])) == pytest.approx((1 / 3 + 0 + 0.5 + 0.5) / 4)


def test_nearest_neighbour_of_constant_features_is_chance():
    labels = np.arange(10) % 2
    assert scores.nearest_neighbour(np.full((10, 3), 0.1), labels) == pytest.approx(4 / 9)


# Linear probe


def test_linear_probe_is_a_ridge_on_folds():
    features, labels = planted(600, 6, 3)
    model = make_pipeline(StandardScaler(), RidgeClassifierCV(scores.STRENGTHS))
    folds = StratifiedKFold(5, shuffle=True, random_state=3)
    right = sum(
        (model.fit(features[train], labels[train]).predict(features[test]) == labels[test]).sum()
        for train, test in folds.split(features, labels)
    )
    assert scores.linear_probe(features, labels, seed=3) == pytest.approx(right / 600)


def test_linear_probe_tells_what_is_there():
    assert scores.linear_probe(*planted(60, 10, 3, apart=4.0)) > 0.95
    assert 0.15 < scores.linear_probe(*planted(300, 10, 3, apart=0.0)) < 0.5


@pytest.mark.parametrize(
    ("labels", "defined"),
    [
        pytest.param([0, 0, 1, 1], True, id="two images of each class"),
        pytest.param([0, 0, 0, 0, 0, 0, 1, 1], True, id="a class of two among larger ones"),
        pytest.param([0, 0, 1, 1, 2], True, id="a class of one takes no part"),
        pytest.param([0, 1, 2, 3], False, id="one image of each class"),
        pytest.param([0, 0, 0, 1], False, id="only one class has two images"),
    ],
)
def test_linear_probe_needs_two_images_of_two_classes(labels, defined):
    features = 10 * np.eye(5)[labels] + np.random.default_rng(0).normal(size=(len(labels), 5))
    assert math.isnan(scores.linear_probe(features, np.array(labels))) != defined


# Norms


def test_norm_distance_is_the_wasserstein_distance_in_the_source_deviations():
    mean, variance = np.array([0.0, 1.0]), np.array([1.0, 4.0])
    target_mean, target_variance = np.array([3.0, 1.0]), np.array([25.0, 4.0])
    # 5 = hypot(3 - 0, 5 - 1) source deviations in one channel, none in the other
    assert scores.norm_distance(mean, variance, target_mean, target_variance, 0.0) == pytest.approx(2.5)


def test_norm_distance_is_that_of_sorted_samples():
    rng = np.random.default_rng(0)
    a, b = np.sort(rng.normal(1.0, 2.0, 200_000)), np.sort(rng.normal(2.0, 0.5, 200_000))
    sampled = math.sqrt(((a - b) ** 2).mean()) / 2.0
    found = scores.norm_distance(np.array([1.0]), np.array([4.0]), np.array([2.0]), np.array([0.25]), 0.0)
    assert found == pytest.approx(sampled, rel=0.02)


def test_a_channel_that_is_constant_on_either_side_leaves_a_number():
    zero, one = np.zeros(1), np.ones(1)
    assert scores.norm_distance(zero, one, zero, zero, 1e-5) == pytest.approx(1.0, rel=1e-4)
    assert math.isfinite(scores.norm_distance(zero, zero, one, one, 1e-5))
    assert scores.norm_distance(one, one, one, one, 1e-5) == 0


@given(scale=st.floats(0.01, 100), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_norm_distance_knows_no_scale(scale, seed):
    a, b, c, d = np.random.default_rng(seed).uniform(0.1, 2, size=(4, 6))
    scaled = scores.norm_distance(scale * a, scale**2 * b, scale * c, scale**2 * d, 0.0)
    assert scaled == pytest.approx(scores.norm_distance(a, b, c, d, 0.0))


# All of them

OF_FEATURES = [scores.log_evidence, scores.h_score, scores.nearest_neighbour]
TAKES = {"seed": st.integers(0, 99), "n": st.integers(8, 40), "d": st.integers(1, 50)}


@pytest.mark.parametrize("score", OF_FEATURES, ids=lambda score: score.__name__)
@given(**TAKES, scale=st.sampled_from([1e-6, 1.0, 1e6]))
@settings(max_examples=25, deadline=None)
def test_rotating_scaling_and_reordering_change_nothing(score, seed, n, d, scale):
    features, labels = planted(n, d, 2, seed)
    order = np.random.default_rng(seed).permutation(n)
    turned = scale * (features @ rotation(d, seed))[order]
    assert score(turned, 7 - labels[order]) == pytest.approx(score(features, labels), rel=1e-5, abs=1e-7)


@given(**TAKES)
@settings(max_examples=4, deadline=None)
def test_scaling_each_feature_changes_no_probe(seed, n, d):
    features, labels = planted(n, d, 2, seed)
    scaled = features * 2.0 ** (np.arange(d) % 7) + 3
    assert scores.linear_probe(scaled, labels) == pytest.approx(scores.linear_probe(features, labels), abs=0.05)


@pytest.mark.parametrize("score", [*OF_FEATURES, scores.linear_probe], ids=lambda score: score.__name__)
@pytest.mark.parametrize(
    "features",
    [
        pytest.param(np.zeros((6, 4)), id="all zeros"),
        pytest.param(np.full((6, 4), 0.1), id="all the same"),
        pytest.param(np.eye(6)[:, :1], id="one feature, nearly constant"),
        pytest.param(np.tile(np.arange(6.0)[:, None], (1, 30)), id="thirty times the same feature"),
        pytest.param(1e30 * np.arange(6.0)[:, None], id="enormous"),
        pytest.param(1e-30 * np.arange(6.0)[:, None], id="tiny"),
        pytest.param(np.arange(24, dtype=np.float16).reshape(6, 4), id="of half precision"),
    ],
)
def test_odd_features_give_a_finite_score(score, features):
    assert math.isfinite(score(features, np.array([3, 3, 3, 8, 8, 8])))


@pytest.mark.parametrize("score", OF_FEATURES, ids=lambda score: score.__name__)
def test_classes_of_one_image_give_a_finite_score(score):
    features, _ = planted(6, 3, 2)
    assert math.isfinite(score(features, np.arange(6)))


def test_the_same_twice_is_the_same_to_the_last_bit():
    features, labels = planted(60, 20, 3)
    for score in (*OF_FEATURES, scores.linear_probe):
        assert score(features, labels) == score(features.copy(), labels.copy())
