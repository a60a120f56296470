"""A network of finite width without its matrices: the law of the dense one.  THEORY 3.3."""

import dataclasses
from typing import Any

from meanfield.base.pytree import pytree, static
from meanfield.base.schema import Variable
from meanfield.model.system import output_variables
from meanfield.programs.gaussians import Independent
from meanfield.programs.trained import RevealedSystem

RANK = Variable(
    ("matrix", "side"), "dimension of what a matrix and its transpose have met", source="THEORY 3.3"
)


@pytree
class MatrixFreeNetwork(RevealedSystem):
    """n neurons a layer; images of new directions are conditioned on all that is known of the matrix."""

    held: Any
    width: int = static()
    tolerance: float = static()
    dtype: str = static()
    deviations: tuple = static(default=())  # (name, deviation) of the matrices
    needs: tuple = static(default=())
    sizes: tuple = static(default=())

    finite = True
    sampler = Independent()
    kind = "a matrix-free network"
    variables = {**output_variables("Yue Lu 2021; THEORY 3.3"), "rank": RANK}

    @property
    def rows(self):
        return self.width

    def with_rows(self, rows):
        return dataclasses.replace(self, width=rows)
