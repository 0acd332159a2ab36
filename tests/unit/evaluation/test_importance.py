"""The importance-weighted estimate against a linear Gaussian model, whose likelihood and posterior are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from aurl.evaluation.importance import (
    ImportanceEstimate,
    ImportanceWeights,
    importance_estimate,
    log_weights,
)

LATENTS, DATA, PIECES, NOISE = 2, 5, 6, 0.7
RNG = np.random.default_rng(3)
LOADING = RNG.standard_normal((DATA, LATENTS))
PIECE = RNG.standard_normal((PIECES, DATA))
PRECISION = np.eye(LATENTS) + LOADING.T @ LOADING / NOISE**2
POSTERIOR = np.linalg.inv(PRECISION)
MEAN = PIECE @ LOADING @ POSTERIOR / NOISE**2  # (P, Z)


def log_normal(value: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Log density of a normal distribution, over the last axis."""
    away = value - mean
    _, log_det = np.linalg.slogdet(covariance)
    quadratic = np.einsum("...i,ij,...j", away, np.linalg.inv(covariance), away)
    return -(quadratic + log_det + away.shape[-1] * math.log(2 * math.pi)) / 2


EXACT = log_normal(PIECE, np.zeros(DATA), LOADING @ LOADING.T + NOISE**2 * np.eye(DATA))


def draw(samples: int, rng: np.random.Generator, width: float = 1.0, shift: float = 0.0) -> tuple[np.ndarray, ...]:
    """Log densities of draws from the posterior, widened and moved: an encoder that is right only for (1, 0)."""
    covariance = POSTERIOR * width**2
    mean = MEAN + shift
    z = mean + rng.standard_normal((samples, PIECES, LATENTS)) @ np.linalg.cholesky(covariance).T
    likelihood = log_normal(PIECE, z @ LOADING.T, NOISE**2 * np.eye(DATA))
    return likelihood, log_normal(z, np.zeros(LATENTS), np.eye(LATENTS)), log_normal(z, mean, covariance)


def test_with_the_true_posterior_one_sample_is_exact() -> None:
    found = importance_estimate(*draw(3, np.random.default_rng(0)))
    np.testing.assert_allclose(found.log_likelihood, EXACT, rtol=1e-10)
    np.testing.assert_allclose(found.elbo, EXACT, rtol=1e-10)
    np.testing.assert_allclose(found.effective_samples, 3)
    np.testing.assert_allclose(found.standard_error, 0, atol=1e-7)
    assert found.total == pytest.approx(EXACT.sum()) and found.total_error < 1e-6


def test_with_a_wrong_encoder_the_estimate_is_right_and_the_elbo_is_not() -> None:
    found = importance_estimate(*draw(20_000, np.random.default_rng(1), width=1.4, shift=0.2))
    assert (np.abs(found.log_likelihood - EXACT) < 4 * found.standard_error).all()
    assert (found.standard_error < 0.02).all() and (found.effective_samples > 1000).all()
    # KL(q | posterior) of normals with covariances s^2 C and C, means apart by d
    away = np.full(LATENTS, 0.2)
    gap = (LATENTS * (1.4**2 - 1 - 2 * math.log(1.4)) + away @ PRECISION @ away) / 2
    np.testing.assert_allclose(EXACT - found.elbo, gap, atol=0.05)


def test_more_samples_raise_the_bound_towards_the_likelihood() -> None:
    rng = np.random.default_rng(2)
    means = [
        np.mean([importance_estimate(*draw(samples, rng, 1.6, 0.3)).total for _ in range(400)])
        for samples in (1, 4, 16, 64)
    ]
    assert means == sorted(means) and means[-1] < EXACT.sum()
    assert EXACT.sum() - means[-1] < 0.2 * (EXACT.sum() - means[0])


def test_the_standard_error_is_the_spread_of_repeated_estimates_and_gives_the_bias() -> None:
    rng = np.random.default_rng(4)
    found = [importance_estimate(*draw(200, rng, 1.3, 0.1)) for _ in range(300)]
    spread = np.std([one.log_likelihood for one in found], axis=0)
    told = np.mean([one.standard_error for one in found], axis=0)
    np.testing.assert_allclose(told, spread, rtol=0.2)
    low = EXACT - np.mean([one.log_likelihood for one in found], axis=0)
    bias = np.mean([one.bias for one in found], axis=0)
    assert (np.abs(low - bias) < 4 * spread / math.sqrt(300)).all()


def test_portions_give_what_all_draws_at_once_give_even_for_long_pieces() -> None:
    """Nats of a long piece are thousands: no weight is a number that a computer has."""
    likelihood, prior, q = draw(50, np.random.default_rng(5), 1.5)
    likelihood = 10 * likelihood - np.linspace(0, 90_000, PIECES)
    whole = importance_estimate(likelihood, prior, q)
    for order in (np.arange(50), np.argsort(likelihood[:, 0]), np.argsort(-likelihood[:, 0])):
        weights = ImportanceWeights()
        for rows in np.array_split(order, 7):
            weights.add(likelihood[rows], prior[rows], q[rows])
        parts = weights.estimate()
        for name in ("log_likelihood", "standard_error", "effective_samples", "elbo"):
            np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-9, err_msg=name)
    assert np.isfinite(whole.log_likelihood).all() and whole.log_likelihood[-1] < -90_000
    logs = log_weights(likelihood, prior, q)
    np.testing.assert_allclose(whole.log_likelihood, np.logaddexp.reduce(logs) - math.log(50), rtol=1e-12)


def test_impossible_draws_weigh_nothing() -> None:
    none = np.array([[-np.inf], [-np.inf]])
    zero = np.zeros((2, 1))
    weights = ImportanceWeights()
    weights.add(none, zero, zero)
    empty = weights.estimate()
    assert empty.log_likelihood[0] == -np.inf and empty.effective_samples[0] == 0 and empty.doubtful == 1
    weights.add(zero, zero, zero)
    half = weights.estimate()
    assert half.log_likelihood[0] == pytest.approx(math.log(0.5)) and half.effective_samples[0] == pytest.approx(2)


def test_one_sample_has_no_error_and_few_effective_ones_are_doubtful() -> None:
    one = importance_estimate(*draw(1, np.random.default_rng(6)))
    assert np.isnan(one.standard_error).all() and one.doubtful == PIECES
    logs = np.full((20, 1), -10.0)
    logs[3] = 0.0
    found = importance_estimate(logs, np.zeros((20, 1)), np.zeros((20, 1)))
    assert isinstance(found, ImportanceEstimate) and found.effective_samples[0] == pytest.approx(1, abs=0.01)
    assert found.doubtful == 1


@pytest.mark.parametrize(
    ("likelihood", "prior", "q", "message"),
    [
        (np.zeros((2, 3)), np.zeros((2, 3)), np.zeros((2, 1)), r"same shape .* log_q \(2, 1\)"),
        (np.zeros(3), np.zeros(3), np.zeros(3), r"\(samples, pieces\)"),
        (np.zeros((0, 3)), np.zeros((0, 3)), np.zeros((0, 3)), "not empty"),
        ([[0.0, np.nan]], [[0.0, 0.0]], [[0.0, 0.0]], "log_px_given_z of sample 0, piece 1 is nan"),
        ([[0.0]], [[np.inf]], [[0.0]], "log_prior of sample 0, piece 0 is inf; allowed: a number or minus infinity"),
        ([[0.0]], [[0.0]], [[-np.inf]], "log_q of sample 0, piece 0 is -inf; allowed: a finite number"),
    ],
)
def test_what_is_no_log_density_is_refused(likelihood, prior, q, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        importance_estimate(likelihood, prior, q)


def test_portions_are_of_the_same_pieces_and_none_gives_nothing() -> None:
    weights = ImportanceWeights()
    with pytest.raises(ValueError, match="needs at least one sample, got none"):
        weights.estimate()
    weights.add(np.zeros((1, 2)), np.zeros((1, 2)), np.zeros((1, 2)))
    with pytest.raises(ValueError, match="this portion has 3 pieces, those before had 2"):
        weights.add(np.zeros((1, 3)), np.zeros((1, 3)), np.zeros((1, 3)))
