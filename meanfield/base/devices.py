"""Arrays over all devices of the machine, where there are several."""

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec


def device_count():
    return jax.device_count()


def whole(size):
    """The next size that divides evenly among the devices."""
    return -(-size // device_count()) * device_count()


def spread_out(tree, size, axis=1):
    """Arrays whose `axis` has that size, cut along it among all devices; the others on each of them.

    Compiled functions follow their data: what is computed particle by particle stays where the particles
    are, and sums over particles become one all-reduce.
    """
    if device_count() == 1:
        return tree
    mesh = Mesh(np.asarray(jax.devices()), ("particles",))

    def place(leaf):
        cut = leaf.ndim > axis and leaf.shape[axis] == size and size % device_count() == 0
        spec = PartitionSpec(*[None] * axis, "particles") if cut else PartitionSpec()
        return jax.device_put(leaf, NamedSharding(mesh, spec))

    return jax.tree.map(place, tree)
