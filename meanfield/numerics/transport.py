"""Transport distances between point clouds: coupled, by assignment, regularised. By sorting: `sliced`.

    W_p(μ, ν)^p = min over couplings π of μ and ν of ∫ |x − y|^p dπ(x, y),   p ≥ 1.

Clouds are Σ_i a_i δ_{x_i}: arrays (n, d) with weights (n,), equal ones if none are given; numpy comes in,
numpy and floats go out, everything is computed in float64. Distances carry the unit of the points.

What is computed is a distance between two clouds, and it is not the distance between the two laws that
they were drawn from: W_p between two samples of n points is dominated by its own sampling error, of order
n^{−1/d} for d ≥ 3, √(ln n/n) for d = 2 and n^{−1/2} for d = 1. Two samples of 256 points of N(0, I_5) and
of N(0.1, I_5) are at W_2 = 1.18 ± 0.03, the laws at 0.22 (THEORY 9). To compare laws take the maximum mean
discrepancy (`mmd`) or the sliced distance, whose errors do not grow with d, or particles that share their
start (`coupled_distance`).
"""

import dataclasses
import functools
import math
import warnings

import jax
import jax.numpy as jnp
import numpy as np

from meanfield.base import checks, precision
from meanfield.base.errors import ComputationError
from meanfield.numerics import clouds


def coupled_distance(x, y, *, weights=None, order=2):
    """(Σ_i w_i |x_i − y_i|^p)^{1/p} between particles coupled one to one: a bound on W_p from above.

    The natural distance between a finite network and limit particles started from the same draws: it has
    no sampling floor, and it is zero only if every particle of positive weight is in its place.

    Args:
        x, y: coupled points, (n, d) each.
        weights: weights w (n,), not negative; divided by their sum. Equal if not given.
        order: p ≥ 1.
    Returns:
        The distance, in the unit of the points.
    Accuracy: rounding, relative. Cost O(n d).
    Source: the coupling of Sznitman (1991, section I.1), at one time.
    """
    order = checks.number("order", order, least=1)
    x, _ = clouds.cloud("x", x)
    y, _ = clouds.cloud("y", y)
    checks.require(y.shape == x.shape, "y", f"coupled to `x`, shape {x.shape}", y)
    weights = clouds.filled(clouds.masses("weights", weights, len(x)), x)
    return clouds.power_mean(np.linalg.norm(x - y, axis=1), weights, order)


def assignment_distance(x, y, *, order=2, most=4096):
    """W_p(μ, ν) = (min over permutations σ of (1/n) Σ_i |x_i − y_σ(i)|^p)^{1/p}, exact.

    Between two clouds of n points of equal weight an optimal coupling is a permutation. Mind the module
    docstring: for independent samples in d ≥ 3 this number says little about their laws.

    Args:
        x, y: points, (n, d) each, as many in one as in the other.
        order: p ≥ 1.
        most: largest n that is accepted.
    Returns:
        The distance, in the unit of the points.
    Raises:
        ValueError: if the clouds differ in size or have more than `most` points.
    Accuracy: rounding, relative. Cost O(n³) time at worst (5 to 9 s at n = 4096), three arrays of n² numbers.
    Source: Birkhoff (1946); the shortest augmenting paths of Crouse (2016), from scipy.
    """
    import scipy.optimize
    import scipy.spatial.distance

    order = checks.number("order", order, least=1)
    most = checks.integer("most", most, least=1)
    x, y, _, _ = clouds.pair(x, y)
    checks.require(len(x) == len(y), "y", f"as many points as `x`, {len(x)}", y)
    if len(x) > most:
        raise ValueError(
            f"Argument `x` must have at most {most} points (`most`), but has {len(x)}: "
            f"use `sinkhorn` or `sliced_wasserstein` for larger clouds."
        )
    cost = scipy.spatial.distance.cdist(x, y)  # (n, n)
    largest = cost.max()
    if largest == 0.0:
        return 0.0
    rows, columns = scipy.optimize.linear_sum_assignment((cost / largest) ** order)
    return clouds.power_mean(cost[rows, columns], np.full(len(x), 1 / len(x)), order)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SinkhornDivergence:
    """What `sinkhorn` found: S_ε, its root, and how it was reached."""

    distance: float  # √max(S_ε, 0), in the unit of the points
    divergence: float  # S_ε
    epsilon: float  # ε, in the unit of the squared distance
    converged: bool  # whether all three problems met the tolerance; if one did not, there is no result
    iterations: int  # the largest number of iterations among the three
    marginal_error: float  # the largest among the three, L1, both marginals together


def sinkhorn(x, y, *, weights_x=None, weights_y=None, epsilon=None, iterations=2000, tolerance=1e-6):
    """S_ε(μ, ν) = OT_ε(μ, ν) − ½ OT_ε(μ, μ) − ½ OT_ε(ν, ν), and its root, which tends to W_2 as ε → 0.

    OT_ε(μ, ν) = min over couplings π of ∫ |x − y|² dπ + ε KL(π | μ ⊗ ν). The shift between the means is
    taken out first, S_ε(μ, ν) = |mean μ − mean ν|² + S_ε of the centred clouds, exactly and for every ε, so
    that a translation is free of bias.

    Default ε: 0.05 Σ_ij a_i b_j |x_i − y_j|², the mean cost of the centred clouds, that is
    0.05 (tr Cov μ + tr Cov ν). Bias it leaves: none for a shift; √S_ε is too small for a change of shape, by
    (ε/8σ²)² of itself between two isotropic Gaussians of nearly equal variance σ² per coordinate, which
    for the default is 0.02% (d = 1), 0.4% (d = 5), 1.5% (d = 10), and 21% (d = 50); between a point and a
    Gaussian it is 3%, 10%, 17% and 43%: the bias grows with d because ε follows the whole cost, and wants
    an ε of its own in high dimension. For any two clouds of n points of equal weight |S_ε − W_2²| ≤ ε ln n.

    Args:
        x, y: points, (n, d) and (m, d).
        weights_x, weights_y: weights (n,) and (m,), not negative; divided by their sum. Equal if not given.
        epsilon: ε > 0, in the unit of the squared distance.
        iterations: most iterations, rounded up to a multiple of ten.
        tolerance: largest L1 error of the marginals. Its effect on S_ε is second order, at most
            2 · tolerance · max |x − y|² (the dual is concave).
    Returns:
        A `SinkhornDivergence`.
    Raises:
        RuntimeError: if one of the three problems did not converge. That is common where the best coupling
            is nearly a permutation (particles moved by less than their spacing, d ≥ 5): `tolerance=1e-4`
            then ends after a few hundred iterations, with S_ε wrong by less than 1e-4 of itself in all of
            22 such pairs measured (n = 64, 256; d = 1 … 50).
    Accuracy: the bias above, then the tolerance. Cost O(nm + n² + m²) per iteration and in memory, a few
        dense matrices at a time; each new pair of sizes compiles (one second).
    Source: Cuturi (2013); Feydy, Séjourné, Vialard, Amari, Trouvé, Peyré (2019, eq. 3); solved by ott
        (Cuturi, Meng-Papaxanthos, Tian, Bunne, Davis, Teboul 2022).
    """
    import scipy.spatial.distance

    iterations = checks.integer("iterations", iterations, least=1)
    tolerance = checks.number("tolerance", tolerance, above=0)
    if epsilon is not None:
        epsilon = checks.number("epsilon", epsilon, above=0)
    x, y, a, b = clouds.pair(x, y, weights_x, weights_y)
    a, b = clouds.filled(a, x), clouds.filled(b, y)
    mean_x, mean_y = a @ x, b @ y
    x, y = x - mean_x, y - mean_y
    scale = a @ (x**2).sum(1) + b @ (y**2).sum(1)  # the mean cost
    scale = float(scale) if scale > 0 else 1.0
    epsilon = 0.05 * scale if epsilon is None else epsilon

    solve = _make_solver()
    most = 10 * math.ceil(iterations / 10)
    values, errors, counts, potentials = [], [], [], []
    # The potentials of the symmetric problems start the mixed one: almost solved where the clouds are close.
    for first, second, mass_first, mass_second in ((x, x, a, a), (y, y, b, b), (x, y, a, b)):
        symmetric = first is second
        start = (0 * mass_first, 0 * mass_first) if symmetric else tuple(potentials)
        cost = scipy.spatial.distance.cdist(first, second, "sqeuclidean") / scale
        for method in (AVERAGED,) if symmetric else (ACCELERATED, PLAIN):
            with precision.double(), jax.numpy_rank_promotion("allow"):  # ott relies on promotion
                value, potential, error, history = precision.to_numpy(
                    solve(cost, mass_first, mass_second, start, epsilon / scale, tolerance, most, method)
                )
            if error <= tolerance:
                break
        values.append(scale * float(value))
        potentials.append(potential)
        errors.append(float(error))
        counts.append(10 * int(np.sum(history != -1)))  # ott's mark of iterations that were not needed
        if not error <= tolerance:  # a NaN is no convergence
            raise ComputationError(
                f"Sinkhorn did not converge in {counts[-1]} iterations (marginal error {error:.1e}). The "
                f"regularisation is likely too small for these points; raise `epsilon` above {epsilon:.1e}, "
                f"`tolerance` above {tolerance:.1e} or `iterations` above {most}."
            )
    shift = mean_x - mean_y
    divergence = float(shift @ shift) + values[2] - 0.5 * (values[0] + values[1])
    return SinkhornDivergence(
        distance=math.sqrt(max(divergence, 0.0)),
        divergence=divergence,
        epsilon=epsilon,
        converged=True,
        iterations=max(counts),
        marginal_error=max(errors),
    )


# Ways to iterate, as (both potentials at once, step from which the momentum follows the measured rate,
# momentum before it). Averaging settles the problem of a cloud with itself in a few steps (Feydy et al. 2019,
# eq. 25); acceleration (Lehmann et al. 2021) saves most steps elsewhere but can fail, plain steps cannot.
AVERAGED, ACCELERATED, PLAIN = (True, 0, 0.5), (False, 200, 1.0), (False, 0, 1.0)


@functools.cache
def _make_solver():
    """Compiled: OT_ε of a cost matrix, its first potential, the L1 error of both marginals, the history.

    ott's own sign of convergence is not used: it takes one marginal only, and an infinite error for success.
    """
    with warnings.catch_warnings():
        # ott imports jaxopt, which announces its retirement.
        warnings.filterwarnings("ignore", "JAXopt is no longer maintained", DeprecationWarning)
        from ott.geometry import geometry
        from ott.problems.linear import linear_problem
        from ott.solvers.linear import acceleration, sinkhorn

    @functools.partial(jax.jit, static_argnums=(6, 7))
    def solve(cost, a, b, start, epsilon, tolerance, iterations, method):
        parallel, momentum_start, momentum = method
        solver = sinkhorn.Sinkhorn(
            threshold=tolerance / 2,  # ott watches one marginal
            inner_iterations=10,
            max_iterations=iterations,
            parallel_dual_updates=parallel,
            momentum=acceleration.Momentum(start=momentum_start, value=momentum),
        )
        problem = linear_problem.LinearProblem(geometry.Geometry(cost, epsilon=epsilon), a=a, b=b)
        out = solver(problem, init=start)
        plan = jnp.exp((out.f[:, None] + out.g[None, :] - cost) / epsilon)  # (n, m)
        error = jnp.abs(plan.sum(1) - a).sum() + jnp.abs(plan.sum(0) - b).sum()
        return out.reg_ot_cost, out.f, error, out.errors

    return solve
