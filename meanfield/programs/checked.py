"""Whether a program does what every reading relies on: neurons by themselves, matrices through `ops`."""

import jax
import jax.numpy as jnp
import numpy as np

from meanfield.programs.arrays import matrices, scalars, vectors

ROWS = 6  # neurons; as many samples get a row more, so that the two are not taken for each other


class _Separate:
    """`ops` in which nothing passes between neurons: products act on every row alone, averages are constants.

    What a program then computes for a row must not depend on the other rows; the fields it hands over are
    kept to see whether they do.
    """

    def __init__(self, names, rows):
        self.names, self.rows, self.fields = names, rows, []

    def matmul(self, name, x):
        return self._met("matmul", name, x, 0.7)

    def transpose_matmul(self, name, g):
        return self._met("transpose_matmul", name, g, -0.6)

    def moment(self, x, y):
        self._field("moment", x), self._field("moment", y)
        return jnp.full((x.shape[1], y.shape[1]), 0.3, x.dtype)

    def update(self, name, left, right):
        self._name("update", name)
        self._field("update", left), self._field("update", right)
        if left.shape != right.shape:
            raise ValueError(
                f"Arguments `left` and `right` of ops.update must be fields of one shape, but are "
                f"{left.shape} and {right.shape}."
            )

    def forget(self, name, when):
        self._name("forget", name)

    def _met(self, what, name, x, factor):
        self._name(what, name)
        self._field(what, x)
        return factor * x

    def _name(self, what, name):
        if name not in self.names:
            known = " or ".join(map(repr, self.names)) or "none: the program has no matrix"
            raise ValueError(f"The matrix given to ops.{what} must be {known}, but is {name!r}.")

    def _field(self, what, x):
        shape = getattr(x, "shape", None)
        if shape is None or len(shape) != 2 or shape[0] != self.rows:
            raise ValueError(
                f"What is given to ops.{what} must be a field with one row for every neuron, (n, P), but is "
                f"{'of shape ' + str(shape) if shape is not None else repr(x)} at n = {self.rows}."
            )
        self.fields.append((what, x))


_good = set()  # what was found good: equal settings are not looked at twice


def check_program(program, problem, training):
    """Raise one sentence if a step of the program mixes neurons or hands over arrays of wrong shape."""
    try:
        about = (program, problem.x.shape, problem.y.shape, problem.loss, training.batch_size)
        hash(about)
    except TypeError:  # a program that cannot be told from others
        about = None
    if about not in _good:
        _check(program, problem, training)
        _good.update({about} - {None})


def _check(program, problem, training):
    arrays = program.arrays(problem)
    rng = np.random.default_rng(0)
    x, y, weight = problem.batch(0, training.batch_size, training.batch_key)
    rows = ROWS + (len(x) == ROWS)
    p = {n: rng.standard_normal((2, rows, v.columns)) for n, v in vectors(arrays).items()}
    fixed = {n: rng.standard_normal(s.shape) for n, s in scalars(arrays).items()}

    where = {}

    def step(p):
        ops = _Separate(matrices(arrays), rows)
        p = {**p, **fixed}
        passed = program.forward(ops, p, x)
        f = passed.output
        if getattr(f, "shape", None) != y.shape:
            raise ValueError(
                f"The output of a program must be of shape (P, k) = {y.shape} for {len(x)} samples, but is "
                f"{getattr(f, 'shape', f)!r}."
            )
        moved = program.gradient(ops, p, x, passed, problem.residual(f, y, weight), jnp.zeros((), int))
        for name, value in moved.items():
            if name not in p or jnp.shape(value) != jnp.shape(p[name]):
                raise ValueError(
                    f"What a program's `gradient` returns must be arrays in the shapes of its vectors and "
                    f"scalars, but {name!r} is of shape {jnp.shape(value)}."
                )
        fields = [*ops.fields, *((f"gradient {n!r}", v) for n, v in moved.items() if n in vectors(arrays))]
        where["names"] = [name for name, _ in fields]
        return [value for _, value in fields]

    step = jax.jit(step)
    one = {n: v[0] for n, v in p.items()}
    # The first half of the rows stays, the others are drawn anew.
    other = {n: np.concatenate([v[0, : rows // 2], v[1, rows // 2 :]]) for n, v in p.items()}
    for what, first, second in zip(*_evaluated(step, one, other, where), strict=True):
        if not np.allclose(first[: rows // 2], second[: rows // 2], rtol=1e-9, atol=1e-12, equal_nan=True):
            word = what if what.startswith("gradient") else f"what is given to ops.{what}"
            raise ValueError(
                f"The program {type(program).__name__} must treat every neuron by itself outside of `ops`, "
                f"but {word} depends for one neuron on others."
            )


def _evaluated(step, one, other, where):
    first, second = jax.tree.map(np.asarray, (step(one), step(other)))
    return where["names"], first, second
