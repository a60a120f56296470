"""The infinite-width limit of a program: particles, Gaussian fields and their responses.  THEORY 3.2, 3.4."""

import dataclasses
from typing import Any

import numpy as np

from meanfield.base.pytree import pytree, static
from meanfield.model.system import VARIABLES, error_variables
from meanfield.programs.gaussians import Antithetic
from meanfield.programs.matrix_free import RANK
from meanfield.programs.trained import RevealedSystem


@pytree
class ProgramLimit(RevealedSystem):
    """`count` replicates of `particles` particles each, in one causal pass.

    A direction q that a matrix meets has the image Σ_k u_k E[ζ_k q] + ξ: a fresh Gaussian ξ and the response
    to the Gaussians ζ_k of the transpose, by integration by parts. The result is the mean over replicates,
    its error their spread over √count (Student's t, count − 1 degrees of freedom).
    """

    held: Any
    rows: int | None = static()
    count: int = static()
    sampler: Antithetic = static()
    tolerance: float = static()
    deviations: tuple = static(default=())
    needs: tuple = static(default=())
    sizes: tuple = static(default=())

    finite = False
    is_limit = True
    dtype = "float64"
    kind = "the limit of a program"
    error_from = "independent replicates"
    variables = {**VARIABLES, **error_variables(VARIABLES), "rank": RANK}

    def with_particles(self, rows):
        return dataclasses.replace(self, rows=self.sampler.rows(rows))

    def summarise(self, arrays):
        """Replicates, second axis, to means and standard errors; of ranks the largest."""
        result = {}
        for name, values in arrays.items():
            if name == "rank":
                result[name] = values.max(1)
                continue
            with np.errstate(over="ignore", invalid="ignore"):  # just before training diverges
                result[name] = values.mean(1)
                result[f"{name}_error"] = values.std(1, ddof=1) / np.sqrt(values.shape[1])
        return result
