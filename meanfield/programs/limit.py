"""The infinite-width limit of a program: particles, Gaussian fields and their responses.  THEORY 3.2, 3.4."""

import dataclasses
from typing import Any

import jax
import numpy as np

from meanfield.base.pytree import pytree, static
from meanfield.model.system import output_variables
from meanfield.programs.gaussians import Antithetic
from meanfield.programs.matrix_free import RANK
from meanfield.programs.trained import RevealedSystem

VARIABLES = output_variables("Yang & Hu 2021; Bordelon & Pehlevan 2022; THEORY 3.2")


def halving_variables(variables):
    """What half the particles change in each of them."""
    return {
        f"{name}_halving": dataclasses.replace(
            variable, long_name=f"change of the {variable.long_name} with half the particles"
        )
        for name, variable in variables.items()
    }


@pytree
class ProgramLimit(RevealedSystem):
    """`count` replicates of `particles` particles each, in one causal pass.

    A direction q that a matrix meets has the image Σ_k u_k E[ζ_k q] + ξ: a fresh Gaussian ξ and the response
    to the Gaussians ζ_k of the transpose, by integration by parts; with `responses` "path" it is E[∂q/∂ζ_k]
    that is averaged, along the path of every particle. The result is the mean over replicates.
    As many replicates run with half the particles. The bias O(rank/M) is as large as what halving changes, so
    that the error is √(se² + max(0, mean over samples of (halving² − se(halving)²))), se that of the mean
    (Student's t, count − 1 degrees of freedom).
    """

    held: Any
    rows: int | None = static()
    count: int = static()
    sampler: Antithetic = static()
    tolerance: float = static()
    responses: str = static(default="parts")
    deviations: tuple = static(default=())
    needs: tuple = static(default=())
    sizes: tuple = static(default=())

    finite = False
    is_limit = True
    dtype = "float64"
    kind = "the limit of a program"
    error_from = "independent replicates, and half the particles"
    variables = {
        **VARIABLES,
        **{f"{name}_error": v.own_error() for name, v in VARIABLES.items()},
        **halving_variables(VARIABLES),
        "rank": RANK,
    }

    def with_rows(self, rows):
        return dataclasses.replace(self, rows=self.sampler.rows(rows))

    with_particles = with_rows

    def replicates(self, key):
        """(system, key) of all that runs: `count` times M particles, then `count` times M/2."""
        half = self.with_rows(max(2, self.rows // 2))
        systems = [self] * self.count + [half] * self.count
        return [(system, jax.random.fold_in(key, r)) for r, system in enumerate(systems)]

    def summarise(self, arrays):
        """Replicates, second axis, to means, standard errors and what halving the particles changes; of
        ranks the largest."""
        result = {}
        for name, values in arrays.items():
            if name == "rank":
                result[name] = values.max(1)
                continue
            with np.errstate(over="ignore", invalid="ignore"):  # just before training diverges
                full, half = values[:, : self.count], values[:, self.count :]
                result[name] = full.mean(1)
                change = half.mean(1) - result[name]
                square = [v.var(1, ddof=1) / self.count for v in (full, half)]
                excess = change**2 - square[0] - square[1]
                axes = tuple(range(1, excess.ndim))
                bias = np.maximum(0, excess.mean(axes, keepdims=True))
                result[f"{name}_error"] = np.sqrt(square[0] + bias)
                if name in self.variables:
                    result[f"{name}_halving"] = change
        return result
