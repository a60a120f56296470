"""Gaussian arrays over neurons, drawn in blocks, so that a narrow network is the first part of a wide one."""

import functools

import jax
import numpy as np

BLOCK = 256  # neurons
GROUP = 8  # blocks that one call draws


def gaussian_vectors(keys, label, neurons, columns, dtype):
    """N(0, 1) entries, (keys, neurons, columns), on the host; block B from the key with `label`, B, 0
    folded in."""
    blocks = -(-neurons // BLOCK)
    places = np.indices((blocks, 1)).reshape(2, -1).T
    drawn = _drawn(keys, label, places, (BLOCK, columns), dtype)
    return np.ascontiguousarray(drawn.reshape(len(keys), blocks * BLOCK, columns)[:, :neurons])


def gaussian_matrices(keys, label, neurons, dtype):
    """N(0, 1/n) entries, (keys, n, n), on the host; block (I, J) from the key with `label`, I, J folded
    in."""
    blocks = -(-neurons // BLOCK)
    places = np.indices((blocks, blocks)).reshape(2, -1).T
    out = np.empty((len(keys), neurons, neurons), dtype)
    for network, key in enumerate(keys):
        for row in range(blocks):
            part = places[row * blocks : (row + 1) * blocks]
            drawn = _drawn(key[None], label, part, (BLOCK, BLOCK), dtype)[0]
            rows = slice(row * BLOCK, min((row + 1) * BLOCK, neurons))
            wide = drawn.transpose(1, 0, 2).reshape(BLOCK, blocks * BLOCK)
            out[network, rows] = wide[: rows.stop - rows.start, :neurons]
    out /= np.sqrt(neurons)
    return out


def _drawn(keys, label, places, shape, dtype):
    """Blocks at `places`, (keys, places, *shape); GROUP at a time, so that one program serves all."""
    data = np.asarray(jax.random.key_data(keys))
    which, at = (index.ravel() for index in np.indices((len(keys), len(places))))
    missing = -which.size % GROUP
    out = np.empty((which.size + missing, *shape), dtype)
    which, at = np.pad(which, (0, missing)), np.pad(at, (0, missing))
    for start in range(0, out.shape[0], GROUP):
        part = slice(start, start + GROUP)
        out[part] = _draw(data[which[part]], np.int32(label), places[at[part]].astype(np.int32), shape)
    return out[: out.shape[0] - missing].reshape(len(keys), len(places), *shape)


# Half the time to compile, the same time to run.
@functools.partial(jax.jit, static_argnames="shape", compiler_options={"xla_backend_optimization_level": 1})
def _draw(data, label, places, shape):
    def one(data, place):
        key = jax.random.fold_in(jax.random.wrap_key_data(data), label)
        key = jax.random.fold_in(jax.random.fold_in(key, place[0]), place[1])
        return jax.random.normal(key, shape)

    return jax.vmap(one)(data, places)
