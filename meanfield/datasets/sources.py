"""Where random numbers come from.

The law of a data set is written once, as a function of a source. Read with a `NumpySource` it gives a
finite set, read with a `JaxSource` an endless stream in traceable code. Each draw has a name and its own
generator, so that one more draw changes none of the others.
"""

import dataclasses
import zlib

import numpy as np


def tag(name):
    """A fixed integer for a name, the same on every machine and in every session."""
    return zlib.crc32(name.encode())


@dataclasses.dataclass(frozen=True)
class NumpySource:
    """Draws in float64 from `np.random.default_rng([*entropy, tag(name)])`; entropy: integers ≥ 0."""

    entropy: tuple

    def generator(self, name):
        return np.random.default_rng([*self.entropy, tag(name)])

    def normal(self, name, shape):
        return self.generator(name).standard_normal(shape)

    def uniform(self, name, shape):
        return self.generator(name).random(shape)

    def signs(self, name, shape):
        return 2.0 * self.generator(name).integers(0, 2, shape) - 1.0


@dataclasses.dataclass(frozen=True)
class JaxSource:
    """Draws in JAX's default float type from `fold_in(key, tag(name))`."""

    key: object

    def normal(self, name, shape):
        import jax

        return jax.random.normal(jax.random.fold_in(self.key, tag(name)), shape)

    def signs(self, name, shape):
        import jax

        return jax.random.rademacher(jax.random.fold_in(self.key, tag(name)), shape, dtype=float)
