"""How a network of finite width is sampled: with every matrix drawn, or without any."""

import dataclasses

from meanfield.base.checks import integer, number


@dataclasses.dataclass(frozen=True)
class Dense:
    """Every n × n matrix is drawn and trained entry by entry: any training; n² numbers, n² P operations."""


@dataclasses.dataclass(frozen=True)
class MatrixFree:
    """Matrices are revealed only along the vectors they meet: a network of the same law, without them.

    Exact in distribution at tolerance 0; otherwise each part of a vector that is skipped changes
    preactivations by about `tolerance` in relative root mean square. Needs updates of low rank, which
    gradient descent has (with momentum, weight decay, mini-batches) and Adam has not.

    Args:
        tolerance: part of a vector, relative to the largest of its block, that may be dropped; in float32
            nothing below 6e-6 can be told from rounding. Whether a vector has such a part is asked of one in
            16 neurons where there are 65536 or more: a tolerance of 1e-6 or more is then kept to about 1%.
        above: networks of at most this width are drawn densely.
    Cost: O(n · rank · P) operations a step and O(n · rank) numbers; the rank saturates with training.
    Source: Yue Lu 2021 (Householder dice); Bolthausen 2014. THEORY 3.3.
    """

    tolerance: float = 1e-3
    above: int = 0

    def __post_init__(self):
        object.__setattr__(self, "tolerance", number("tolerance", self.tolerance, least=0, below=1))
        integer("above", self.above, 0)
