"""What a program is made of: Gaussian matrices, fields with a row for every neuron, plain scalars."""

from typing import NamedTuple


class Matrix(NamedTuple):
    """An n × n matrix whose entries start as N(0, deviation²/n)."""

    deviation: float = 1.0


class Vector(NamedTuple):
    """An (n, columns) array whose entries start as N(0, deviation²).

    `odd` says that the two particles of an antithetic pair start from opposite values: right for what
    multiplies the output, whose average with anything independent of it vanishes.
    """

    columns: int
    deviation: float = 1.0
    odd: bool = False


class Scalar(NamedTuple):
    """An array without neurons, of entries that start as N(0, deviation²)."""

    shape: tuple
    deviation: float = 0.0


def matrices(arrays):
    """Names of the matrices among the arrays of a program, in their order."""
    return tuple(name for name, kind in arrays.items() if isinstance(kind, Matrix))


def vectors(arrays):
    """{name: Vector} among the arrays of a program."""
    return {name: kind for name, kind in arrays.items() if isinstance(kind, Vector)}


def scalars(arrays):
    """{name: Scalar} among the arrays of a program."""
    return {name: kind for name, kind in arrays.items() if isinstance(kind, Scalar)}
