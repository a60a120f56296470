"""The Dormand–Prince pair: its tableau, its order on exact solutions, the tolerance it promises."""

import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from assertions import EPS, EPS32, assert_order

from meanfield.base.precision import double
from meanfield.numerics.runge_kutta import B_HAT, A, combine, dormand_prince

B = (*A[-1], 0.0)


def exact(row):
    """The rational numbers behind the floats: no denominator of the pair exceeds 339200."""
    return [Fraction(float(entry)).limit_denominator(400_000) for entry in row]


MATRIX = [exact((*row, *[0.0] * (7 - len(row)))) for row in ((), *A)]


def trees(order):
    """Rooted trees with `order` vertices, as sorted tuples of subtrees."""
    if order == 1:
        return [()]
    found = set()

    def grow(rest, largest, branches):
        if rest == 0:
            found.add(tuple(sorted(branches)))
        for size in range(1, min(rest, largest) + 1):
            for tree in trees(size):
                grow(rest - size, size, [*branches, tree])

    grow(order - 1, order - 1, [])
    return sorted(found)


def vertices(tree):
    return 1 + sum(vertices(branch) for branch in tree)


def density(tree):
    return vertices(tree) * math.prod(density(branch) for branch in tree)


def stage_weights(tree):
    """The elementary weight of a tree at each of the seven stages."""
    result = [Fraction(1)] * 7
    for branch in tree:
        inner = stage_weights(branch)
        sums = [sum(a * w for a, w in zip(row, inner, strict=True)) for row in MATRIX]
        result = [r * s for r, s in zip(result, sums, strict=True)]
    return result


def elementary_weight(row, tree):
    return sum(b * w for b, w in zip(exact(row), stage_weights(tree), strict=True))


ORDER_CONDITIONS = [(tree, order) for order in range(1, 6) for tree in trees(order)]


def test_there_are_seventeen_conditions_of_order_five():
    assert len(ORDER_CONDITIONS) == 17


@pytest.mark.parametrize("tree, order", ORDER_CONDITIONS)
def test_the_tableau_meets_every_order_condition_exactly(tree, order):
    """Σ_i b_i Φ_i(tree) = 1/density(tree) up to order 5, up to order 4 for the embedded weights."""
    assert elementary_weight(B, tree) == Fraction(1, density(tree))
    if order <= 4:
        assert elementary_weight(B_HAT, tree) == Fraction(1, density(tree))


def test_the_tableau_holds_these_rationals_to_rounding():
    for row in (*A, B_HAT):
        np.testing.assert_allclose([float(e) for e in exact(row)], row, rtol=EPS, atol=0)


def test_the_embedded_weights_are_of_order_four_only():
    """Otherwise their difference would estimate nothing."""
    fifth = [tree for tree, order in ORDER_CONDITIONS if order == 5]
    assert any(elementary_weight(B_HAT, tree) != Fraction(1, density(tree)) for tree in fifth)


def test_the_last_stage_is_the_first_of_the_next_step():
    assert exact(B) == MATRIX[6]


SPIN = np.array([[0.0, 1.5], [-1.5, 0.0]])


def velocity(y):
    """A decay, dy/dt = −y², and a rotation, each in its own leaf and shape."""
    return {"decay": -(y["decay"] ** 2), "spin": jnp.asarray(SPIN, y["spin"].dtype) @ y["spin"]}


def start(dtype=np.float64):
    return {"decay": jnp.asarray(1.0, dtype), "spin": jnp.asarray([1.0, 0.5], dtype)}


def solution(t):
    c, s = math.cos(1.5 * t), math.sin(1.5 * t)
    return {"decay": 1 / (1 + t), "spin": np.array([[c, s], [-s, c]]) @ np.array([1.0, 0.5])}


def norm(y):
    return jnp.sqrt(jnp.square(y["decay"]) + jnp.square(y["spin"]).sum())


def distance(y, t):
    truth = solution(t)
    return math.hypot(float(y["decay"]) - truth["decay"], *(np.asarray(y["spin"]) - truth["spin"]))


@jax.jit
def fixed_steps(y, time, h, count):
    """Steps of one size: whatever the error, one attempt reaches the end of an interval of length h."""

    def step(_, y):
        return dormand_prince(velocity, y, h, h, 1e30, norm)[0]

    return jax.lax.fori_loop(0, count, step, y)


def test_steps_of_fixed_size_converge_with_order_five():
    counts = np.array([8, 16, 32, 64])
    with double():
        errors = [distance(fixed_steps(start(), 2.0, 2.0 / n, int(n)), 2.0) for n in counts]
    assert_order(2.0 / counts, errors, 5, floor=64 * 7 * EPS)


def test_the_error_estimate_of_one_step_has_order_five():
    """y_5 − ŷ_4 = O(h⁵): the local error of the fourth-order value."""
    sizes = 0.4 / 2.0 ** np.arange(5)
    estimates = []
    with double():
        for h in sizes:
            stages = [velocity(start())]
            for row in A:
                stages.append(velocity(combine(start(), h, row, stages)))
            fourth = combine(start(), h, B_HAT, stages)
            fifth = combine(start(), h, B, stages)
            estimates.append(float(norm(jax.tree.map(jnp.subtract, fifth, fourth))))
    assert_order(sizes, estimates, 5, floor=7 * EPS)


@pytest.mark.parametrize("h", [0.0, 0.5])
def test_the_global_error_stays_below_the_tolerance_and_follows_it(h):
    """Local errors sum to at most tolerance · time; both equations contract or keep distances here.

    (−y² has slope −2y < 0, a rotation slope 0), so the global error is at most the sum of local ones. The
    estimate is h⁵ and kept proportional to h · tolerance, the error of the fifth-order value is h⁶ per step:
    global error ∝ tolerance^{5/4}, averaged over eight tolerances.
    """
    run = jax.jit(lambda y, tolerance: dormand_prince(velocity, y, 3.0, h, tolerance, norm))
    tolerances = 10.0 ** -np.arange(3, 12)
    with double():
        errors = np.array([distance(run(start(), tol)[0], 3.0) for tol in tolerances])
    assert (errors <= 3.0 * tolerances).all()
    slope = np.polyfit(np.log(tolerances), np.log(errors), 1)[0]
    assert abs(slope - 1.25) < 0.1, slope


def test_float32_stops_at_its_own_rounding():
    """Asked for 1e-12 it raises the tolerance to 64 eps (|y|/T + |dy/dt|) and reaches that."""
    with double():
        y, h = jax.jit(lambda y: dormand_prince(velocity, y, 3.0, 0.0, 1e-12, norm))(start(np.float32))
    assert all(leaf.dtype == jnp.float32 for leaf in (*y.values(), h))
    size, speed = math.hypot(1, 1, 0.5), math.hypot(1, 1.5, 0.75)
    assert distance(y, 3.0) <= 3.0 * 64 * EPS32 * (size / 3.0 + speed)


def test_the_step_size_returned_starts_the_next_interval_without_rejections():
    """A chain of intervals is as accurate as one, and the size handed over is used at once."""
    calls = []

    def counted(y):
        jax.debug.callback(lambda: calls.append(1))
        return velocity(y)

    def length(h):
        calls.clear()
        with double():
            jax.block_until_ready(dormand_prince(counted, start(), 1.0, h, 1e-9, norm))
        jax.effects_barrier()
        return len(calls)

    with double():
        h = dormand_prince(velocity, start(), 1.0, 0.0, 1e-9, norm)[1]
    assert length(h) < length(0.0)


def test_a_solution_that_leaves_every_bound_becomes_nan():
    """dy/dt = y² from 1 has no value at time 2: the attempts run out or the stages overflow."""
    with double():
        y, _ = dormand_prince(lambda y: y * y, jnp.asarray(1.0), 2.0, 0.0, 1e-6, jnp.abs, most_steps=2000)
    assert np.isnan(y)


def jumping(y):
    """Coordinates that speed up by half when they pass zero: every velocity jumps once."""
    return jnp.where(y < 0, 1.0, 1.5)


@pytest.mark.parametrize("coordinates", [1, 40])
@pytest.mark.parametrize("tolerance", [1e-4, 1e-8, 1e-11])
def test_jumps_of_the_velocity_cost_a_bounded_number_of_steps(coordinates, tolerance):
    """From y_0 < 0: y(t) = 1.5 (t + y_0) once t > −y_0.

    In the step of length `shortest` = tolerance in which coordinate i jumps by J_i = 1/2 it errs by at most
    tolerance · J_i · max_θ|Σ_{c_i>θ} b_i − (1 − θ)|, each coordinate by itself. Nearing a jump takes about
    log_5(1/tolerance) attempts a few times over, as every accepted step is followed by a longer one.
    """
    nodes = np.array([0.0, *(sum(row) for row in A)])
    theta = (np.arange(2000) + 0.5) / 2000
    worst = np.abs(np.array(B) @ (nodes[:, None] > theta) - (1 - theta)).max()
    first = -np.linspace(0.1, 0.9, coordinates)
    most = int(coordinates * (20 + 6 * math.log(1 / tolerance, 5)))
    with double():
        y, _ = dormand_prince(jumping, jnp.asarray(first), 1.0, 0.0, tolerance, largest, tolerance, most)
        error = np.abs(np.asarray(y) - 1.5 * (1 + first))
    assert error.max() <= worst * 0.5 * 1.001 * tolerance + tolerance + most * EPS


def largest(y):
    return jnp.abs(y).max()


def test_without_a_shortest_step_a_jump_cannot_be_passed():
    """Negative control: the error per unit time does not fall with the step."""
    with double():
        y, _ = dormand_prince(jumping, jnp.asarray([-0.3]), 1.0, 0.0, 1e-8, largest, 0.0, 30)
    assert np.isnan(y).all()


def test_an_unstable_mode_is_not_taken_for_a_jump():
    """dy/dt = −1000 (y − cos t) is stiff: with a long `shortest` the error still decides."""

    def stiff(y):
        return {"t": jnp.ones(()), "y": -1000 * (y["y"] - jnp.cos(y["t"]))}

    with double():
        start = {"t": jnp.zeros(()), "y": jnp.ones(())}
        norm = lambda y: jnp.sqrt(jnp.square(y["t"]) + jnp.square(y["y"]))  # noqa: E731
        y, _ = dormand_prince(stiff, start, 1.0, 0.0, 1e-4, norm, 0.05)
    truth = (1e6 * math.cos(1.0) + 1e3 * math.sin(1.0)) / (1e6 + 1)
    # A step errs by at most 5% of the speed (|sin t| and 1) times its length, and the mode forgets.
    assert abs(float(y["y"]) - truth) <= 0.05 * 0.05 * math.sqrt(2)


def test_intervals_may_be_cut_anywhere():
    """Two intervals that add up to one give the same value within both tolerances."""
    run = jax.jit(lambda y, time: dormand_prince(velocity, y, time, 0.0, 1e-10, norm)[0])
    with double():
        for first in (0.1, 0.7):
            assert distance(run(run(start(), first), 1.0 - first), 1.0) <= 1e-10


def test_trajectories_in_one_batch_keep_their_own_steps():
    """Under vmap every lane stops by itself: to rounding as if it were alone."""
    lanes = [0.2, 1.0, 3.0]
    run = lambda rate: dormand_prince(lambda y: -rate * y, jnp.asarray(1.0), 1.0, 0.0, 1e-8, jnp.abs)[0]  # noqa: E731
    with double():
        together = np.asarray(jax.jit(jax.vmap(run))(jnp.asarray(lanes)))
        alone = np.array([float(jax.jit(run)(rate)) for rate in lanes])
    np.testing.assert_allclose(together, alone, rtol=100 * EPS)
