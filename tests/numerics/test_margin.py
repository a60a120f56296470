"""The maximum F_1 margin: exact truths, its certificate, and how far a grid of directions falls short."""

import math

import numpy as np
import pytest
from assertions import assert_one_sentence

from meanfield.numerics.margin import (
    dual_function,
    margin_on_directions,
    max_margin,
    spread_directions,
    stationary_directions,
)

PROGRAM = 1e-8  # what HiGHS leaves of a margin of order one, ten times its feasibility tolerance and more


def random_samples(rng, samples, dimension):
    return rng.normal(size=(samples, dimension)), np.where(rng.random(samples) < 0.5, 1.0, -1.0)


@pytest.mark.parametrize("dimension", [2, 3])
def test_orthonormal_samples_have_margin_one_over_the_sum_of_roots(dimension):
    """k positive and m negative ones of e_1 … e_D: 1/(√k + √m).

    Attained: masses s on Σ_{y=1} e_p/√k and −(1−s) on Σ_{y=−1} e_p/√m give s/√k and (1−s)/√m, equal for
    s = √k/(√k + √m). Not exceeded: with λ = 1/(√k(√k+√m)) and 1/(√m(√k+√m)) the dual function is
    1/(√k + √m) at these two directions and less elsewhere, φ taking away what is negative.
    """
    for positive in range(dimension + 1):
        y = np.array([1.0] * positive + [-1.0] * (dimension - positive))
        found = max_margin(np.eye(dimension), y)
        truth = 1 / (math.sqrt(positive) + math.sqrt(dimension - positive))
        assert abs(found.margin - truth) < PROGRAM and abs(found.upper - truth) < PROGRAM


def test_one_sample_has_its_length_for_margin():
    for x in ([[3.0, 4.0]], [[2.0, 3.0, 6.0]]):
        found = max_margin(x, [-1.0])
        assert abs(found.margin - np.linalg.norm(x)) < 10 * PROGRAM
        np.testing.assert_allclose(found.masses.sum(), -1, atol=PROGRAM)


def test_opposite_samples_share_the_mass_whatever_their_labels():
    """φ(w·x) and φ(−w·x) are never both positive: each sample needs neurons of its own, margin |x|/2."""
    x = np.array([[0.6, 0.8], [-0.6, -0.8]])
    for y in ([1, 1], [1, -1]):
        assert abs(max_margin(x, y).margin - 0.5) < PROGRAM


def test_the_corners_of_a_square_have_margin_root_two_over_four():
    """Without bias, labels in turn: λ = ¼ each, g = ±√2/4 at the four corners and smaller between."""
    x = np.array([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    found = max_margin(x, x.prod(1))
    assert abs(found.margin - math.sqrt(2) / 4) < PROGRAM
    np.testing.assert_allclose(np.abs(found.masses).sum(), 1, atol=PROGRAM)


@pytest.mark.parametrize("dimension", [2, 3])
def test_the_solution_is_certified(dimension, key):
    """The bounds meet; the measure has mass 1 and that margin; λ is a probability and vanishes off the
    samples of least margin; the dual function is nowhere on a fine grid above the upper bound."""
    rng = np.random.default_rng([key, dimension])
    for samples in (1, 2, 5, 12):
        x, y = random_samples(rng, samples, dimension)
        found = max_margin(x, y[:, None])
        scale = np.linalg.norm(x, axis=1).max()
        assert -1e-12 * scale <= found.upper - found.margin <= 1e-9 * scale
        reached = y * (np.maximum(x @ found.directions.T, 0) @ found.masses)
        np.testing.assert_allclose(np.linalg.norm(found.directions, axis=1), 1, rtol=1e-14)
        assert np.abs(found.masses).sum() <= 1 + PROGRAM
        assert reached.min() >= found.margin - PROGRAM * scale
        assert (found.duals >= 0).all() and abs(found.duals.sum() - 1) < 1e-12
        assert found.duals @ (reached - found.margin) < PROGRAM * scale
        heights = np.abs(dual_function(x, y, found.duals, spread_directions(20_000, dimension)))
        assert heights.max() <= found.upper + 1e-12 * scale


@pytest.mark.parametrize("dimension", [2, 3])
def test_stationary_directions_hold_the_maximum(dimension, key):
    """No direction is above the best of them, and it is a limit of a fine grid: |g| has slope at most
    Σ|c_p||x_p|, so that the grid misses at most that times its covering radius."""
    rng = np.random.default_rng([key, dimension, 1])
    grid = spread_directions(100_000, dimension)
    radius = 1.1 * math.pi / 1e5 if dimension == 2 else 2 * math.sqrt(4 * math.pi / 1e5)
    for samples in (1, 3, 9):
        x, c = rng.normal(size=(samples, dimension)), rng.normal(size=samples)
        best = np.abs(dual_function(x, 1.0, c, stationary_directions(x, c))).max()
        seen = np.abs(dual_function(x, 1.0, c, grid)).max()
        assert seen <= best * (1 + 1e-12)
        assert best - seen <= radius * np.abs(c) @ np.linalg.norm(x, axis=1)


def test_samples_in_special_position_are_taken():
    """Repeated samples, opposite ones, one at the origin's ray, many on one line: cells without corners."""
    x = np.array([[1.0, 2], [1, 2], [2, 4], [-1, -2], [3, 1]])
    assert max_margin(x, [1, 1, 1, -1, 1]).margin > 0
    line = np.stack(
        [np.linspace(-2, 2, 5), np.zeros(5), np.ones(5)], 1
    )  # on one line of the plane, with bias
    found = max_margin(line, [1, -1, 1, -1, 1])
    assert found.upper - found.margin <= 1e-9 * np.linalg.norm(line, axis=1).max()
    # Repeating the samples changes nothing; contradictory labels leave no margin.
    assert (
        abs(max_margin(np.concatenate([line, line]), [1, -1, 1, -1, 1] * 2).margin - found.margin) < PROGRAM
    )
    assert abs(max_margin([[1.0, 0.0], [1.0, 0.0]], [1, -1]).margin) < PROGRAM


def test_the_margin_follows_rotation_scale_and_permutation(key):
    rng = np.random.default_rng([key, 2])
    x, y = random_samples(rng, 8, 3)
    truth = max_margin(x, y).margin
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    order = rng.permutation(8)
    for other in (max_margin(x @ rotation, y), max_margin(x[order], y[order]), max_margin(x, -y)):
        assert abs(other.margin - truth) < PROGRAM * np.abs(x).max()
    assert abs(max_margin(5 * x, y).margin - 5 * truth) < 5 * PROGRAM * np.abs(x).max()


def test_a_grid_falls_short_by_the_square_of_its_spacing_off_kinks():
    """Truth 1/√2 at 45°, no kink within it: cos(h/2)/√2 ≤ margin on the grid ≤ 1/√2, and with the direction
    halfway between two points of the grid it is cos(h/2)/√2 exactly."""
    x, y = np.eye(2), np.ones(2)
    counts = np.array([12, 20, 28, 36])  # 45° is halfway: count/8 is half-integer
    margins = np.array([margin_on_directions(x, y, spread_directions(n, 2))[0] for n in counts])
    np.testing.assert_allclose(margins, np.cos(np.pi / counts) / math.sqrt(2), rtol=PROGRAM)
    gaps = 1 / math.sqrt(2) - margins
    slopes = np.diff(np.log(gaps)) / np.diff(np.log(counts))
    assert abs(slopes[-1] + 2) < 0.1
    for n in (10, 17, 33, 64):
        on_grid = margin_on_directions(x, y, spread_directions(n, 2))[0] * math.sqrt(2)
        assert math.cos(math.pi / n) - PROGRAM <= on_grid <= 1 + PROGRAM


def test_a_grid_falls_short_by_its_spacing_where_an_optimal_neuron_lies_on_a_kink():
    """x = e_1 (y = 1) and u (y = −1) at the small angle 2α from it. The neuron for e_1 turns away from u
    until it no longer sees it: it lies on the kink of u, at 90° − 2α from e_1, where |g| is λ_1 sin 2α to one
    side of the kink and falls linearly to the other. A grid that misses the kink by δ loses O(δ)."""
    alpha = 0.3
    x = np.array([[1.0, 0.0], [math.cos(2 * alpha), math.sin(2 * alpha)]])
    y = np.array([1.0, -1.0])
    found = max_margin(x, y)
    kinks = np.abs(found.directions @ x.T).min(1)
    assert kinks.max() < 1e-6  # every neuron lies on the kink of the sample it must not see
    angles = np.arctan2(found.directions[:, 1], found.directions[:, 0])
    assert np.ptp(angles) > 1.5  # the windows of ± 0.5 below do not overlap
    gaps, counts = [], np.array([20, 40, 80, 160, 320])
    for n in counts:
        window = (np.arange(-n, n) + 0.37) * 0.5 / n  # misses its centre by 0.37 of the spacing
        grid = (angles[:, None] + window).ravel()
        directions = np.stack([np.cos(grid), np.sin(grid)], 1)
        gaps.append(found.margin - margin_on_directions(x, y, directions)[0])
    slopes = np.diff(np.log(gaps)) / np.diff(np.log(counts))
    assert abs(slopes[-1] + 1) < 0.1


def test_wrong_arguments_get_one_sentence():
    good = np.eye(2)
    for x, y, word in (
        (np.ones((3, 4)), np.ones(3), "x"),
        (good, [1.0, 0.0], "y"),
        (good, [1.0], "y"),
        ([[np.nan, 1.0]], [1.0], "x"),
    ):
        with pytest.raises(ValueError) as raised:
            max_margin(x, y)
        assert_one_sentence(str(raised.value), f"`{word}`")
    with pytest.raises(ValueError, match="tolerance"):
        max_margin(good, [1, 1], tolerance=-1.0)
