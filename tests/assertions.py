"""Assertions that state their tolerance: sampling error, order of convergence, one sentence."""

import math
import re

import numpy as np
import pytest
import scipy.stats

EPS = float(np.finfo(np.float64).eps)
EPS32 = float(np.finfo(np.float32).eps)


def assert_mean(samples, truth, *, bias=0.0, alpha=1e-6):
    """Fail if the mean of near-Gaussian samples (R, ...) is not truth ± bias; false alarms ≤ alpha."""
    samples = np.asarray(samples, float)
    repeats, entries = samples.shape[0], samples[0].size
    error = np.abs(samples.mean(0) - truth)
    standard_error = samples.std(0, ddof=1) / math.sqrt(repeats)
    allowed = scipy.stats.t.isf(alpha / (2 * entries), repeats - 1)  # Bonferroni over entries
    worst = np.max((error - bias) / standard_error)
    assert worst <= allowed, f"off by {worst:.1f} standard errors, {allowed:.1f} allowed"


def assert_variance_ratio(numerator, denominator, *, alpha=1e-6):
    """Fail if two sums of squares have different means; (sum, degrees of freedom) each, of Gaussians.

    (s₁/ν₁)/(s₂/ν₂) is F-distributed with ν₁, ν₂ degrees of freedom if the variances agree; two-sided, false
    alarms ≤ alpha.
    """
    (s1, nu1), (s2, nu2) = numerator, denominator
    ratio = (s1 / nu1) / (s2 / nu2)
    low, high = scipy.stats.f.isf([1 - alpha / 2, alpha / 2], nu1, nu2)
    assert low <= ratio <= high, f"ratio of variances {ratio:.3g}, allowed from {low:.3g} to {high:.3g}"


def local_slopes(sizes, errors):
    """Slopes of log error over log size between neighbours, (K − 1,)."""
    return np.diff(np.log(errors)) / np.diff(np.log(sizes))


def assert_order(sizes, errors, order, *, within=0.1, floor=0.0):
    """Fail if the last local slope of errors over step sizes is not `order` ± `within`.

    Four sizes or more, decreasing; every error stands a hundred times above `floor`, the rounding.
    """
    assert len(sizes) >= 4 and np.all(np.diff(sizes) < 0)
    assert np.min(errors) > 100 * floor, f"errors {errors} reach the rounding {floor:.1e}"
    slopes = local_slopes(sizes, errors)
    assert abs(slopes[-1] - order) <= within, f"slopes {slopes}, expected {order}"


def assert_close(actual, desired, operations, *, scale=None, eps=EPS):
    """Fail if the difference exceeds `operations` roundings of the largest entry (or of `scale`)."""
    actual, desired = np.asarray(actual, float), np.asarray(desired, float)
    assert actual.shape == desired.shape, f"shapes {actual.shape} and {desired.shape}"
    scale = max(np.abs(desired).max(initial=0.0), np.finfo(float).tiny) if scale is None else scale
    worst = np.abs(actual - desired).max(initial=0.0)
    assert worst <= operations * eps * scale, (
        f"off by {worst / (eps * scale):.3g} roundings of {scale:.3g}, {operations:.3g} allowed"
    )


def assert_one_sentence(message, *words):
    """Fail if an error message is not exactly one sentence that holds the words."""
    assert "\n" not in message, message
    assert message[:1].isupper() and message.endswith("."), message
    assert not re.search(r"[.!?]\s+[A-Z]", message), message
    for word in words:
        assert word in message, f"{word!r} is not in {message!r}"


def assert_refused_in_one_sentence(call, kind, *words):
    """Fail if a call does not raise exactly this kind of error, or one of these, with one sentence that holds
    the words."""
    with pytest.raises(kind) as caught:
        call()
    assert type(caught.value) in (kind if isinstance(kind, tuple) else (kind,))
    assert_one_sentence(str(caught.value), *words)
