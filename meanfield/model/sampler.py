"""How the particles of a limit are drawn: points and weights for the standard normal law in D dimensions."""

import dataclasses
import math

import jax
import numpy as np

from meanfield.base.checks import integer


def _seed(key):
    """Integers that seed numpy, from a JAX key."""
    return np.asarray(jax.random.key_data(key)).ravel().tolist()


class Sampler:
    """The interface: `replicates(key, particles, dimension, count)` gives z (R, M, D) and weights (R, M).

    `random` says whether the replicates are independent, so that their spread is the error; otherwise
    replicate 0 is the result and replicate 1 a coarser one whose distance to it bounds the error.
    """

    random = True

    def check(self, dimension):
        """Raise one sentence if this rule does not exist in that dimension."""

    def settled(self, particles, dimension):
        """The particle number that the rule will have, or None where that is free."""
        return particles


@dataclasses.dataclass(frozen=True)
class IID(Sampler):
    """Independent draws: error M^{−1/2}."""

    def replicates(self, key, particles, dimension, count):
        keys = jax.random.split(key, count)
        z = np.stack([np.asarray(jax.random.normal(k, (particles, dimension))) for k in keys])
        return z, np.full((count, particles), 1.0 / particles)


@dataclasses.dataclass(frozen=True)
class Sobol(Sampler):
    """Sobol points with Owen-type scrambling (Matoušek 1998), mapped by the normal quantile function.

    Unbiased for every particle number; the error falls faster than M^{−1/2} for smooth fields, most where
    M is a power of two. At most 21 201 dimensions.
    """

    def check(self, dimension):
        if dimension > 21201:
            raise ValueError(
                "Argument `sampler` must be IID() for neurons of more than 21201 coordinates, "
                f"but is Sobol() for {dimension}."
            )

    def replicates(self, key, particles, dimension, count):
        from scipy.special import ndtri
        from scipy.stats import qmc

        clouds = []
        exponent = int(np.ceil(np.log2(max(particles, 2))))
        for k in jax.random.split(key, count):
            engine = qmc.Sobol(dimension, scramble=True, bits=52, rng=np.random.default_rng(_seed(k)))
            clouds.append(engine.random_base2(exponent)[:particles])
        z = ndtri(np.clip(np.stack(clouds), 2.0**-54, 1 - 2.0**-53))
        return z, np.full((count, particles), 1.0 / particles)


@dataclasses.dataclass(frozen=True)
class Quadrature(Sampler):
    """Tensor Gauss–Hermite rule, in at most three dimensions: m nodes each way, M = m^D particles.

    The error falls like e^{−C√m} for analytic activations and like 1/m for kinked ones. The particle number
    asked for is rounded up to a power m^D, or give `nodes`. The second replicate is the rule with m − max(1,
    m // 4) nodes; the distance between the two is reported as the error, and is that of the coarser.
    """

    nodes: int | None = None
    random = False

    def __post_init__(self):
        if self.nodes is not None:
            integer("nodes", self.nodes, 2, 180)

    def check(self, dimension):
        if dimension > 3:
            raise ValueError(
                "Argument `sampler` must be IID() or Sobol() for neurons of more than 3 coordinates, "
                f"but is Quadrature() for {dimension}."
            )

    def nodes_for(self, particles, dimension):
        """Nodes each way for at least so many particles."""
        return self.nodes or max(2, min(180, math.ceil(particles ** (1 / dimension) - 1e-9)))

    def settled(self, particles, dimension):
        if self.nodes is None and particles is None:
            return None
        return self.nodes_for(particles, dimension) ** dimension

    def rule(self, nodes, dimension):
        """Points (nodes^D, D) and weights of the tensor rule for N(0, I)."""
        x, w = np.polynomial.hermite_e.hermegauss(nodes)
        grids = np.meshgrid(*[x] * dimension, indexing="ij")
        weights = np.array([1.0])
        for _ in range(dimension):
            weights = np.multiply.outer(weights, w / w.sum()).ravel()
        return np.stack([g.ravel() for g in grids], 1), weights

    def replicates(self, key, particles, dimension, count):
        nodes = self.nodes_for(particles, dimension)
        fine, fine_weights = self.rule(nodes, dimension)
        coarse, coarse_weights = self.rule(max(1, nodes - max(1, nodes // 4)), dimension)
        missing = len(fine) - len(coarse)
        coarse = np.concatenate([coarse, np.zeros((missing, dimension))])
        coarse_weights = np.concatenate([coarse_weights, np.zeros(missing)])
        return np.stack([fine, coarse]), np.stack([fine_weights, coarse_weights])
