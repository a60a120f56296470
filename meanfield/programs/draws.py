"""Gaussian arrays over neurons, drawn in blocks, so that a narrow network is the first part of a wide one."""

import functools

import jax
import numpy as np

BLOCK = 256  # neurons
GROUP = 8  # blocks that one call draws
MANY = 128  # and where there are far more of them


def gaussian_vectors(keys, label, neurons, columns, dtype):
    """N(0, 1) entries, (keys, neurons, columns), on the host; block I from the key with `label`, I, 0 folded
    in."""
    out = np.empty((len(keys), neurons, columns), dtype)
    for key, place, block in _blocks(keys, label, (-(-neurons // BLOCK), 1), (BLOCK, columns)):
        rows = out[key, place[0] * BLOCK :][:BLOCK]
        rows[...] = block[: len(rows)]
    return out


def gaussian_matrices(keys, label, neurons, dtype):
    """N(0, 1/n) entries, (keys, n, n), on the host; block (I, J) from the key with `label`, I, J folded
    in."""
    out, blocks = np.empty((len(keys), neurons, neurons), dtype), -(-neurons // BLOCK)
    for key, place, block in _blocks(keys, label, (blocks, blocks), (BLOCK, BLOCK)):
        part = out[key, place[0] * BLOCK :, place[1] * BLOCK :][:BLOCK, :BLOCK]
        part[...] = block[: part.shape[0], : part.shape[1]]
    out /= np.sqrt(neurons)
    return out


def _blocks(keys, label, grid, shape):
    """(key's number, place, block of that shape) for all places of a grid; GROUP or MANY drawn at a time, so
    that one program serves all."""
    data = np.asarray(jax.random.key_data(keys))
    which, *place = (index.ravel() for index in np.indices((len(keys), *grid)))
    place = np.stack(place, 1).astype(np.int32)
    group = GROUP if which.size < 8 * MANY else MANY
    for start in range(0, which.size, group):
        part = np.arange(start, start + group) % which.size  # the last group is filled up
        drawn = np.asarray(_draw(data[which[part]], np.int32(label), place[part], shape))
        for at, block in zip(part[: which.size - start], drawn, strict=False):
            yield which[at], place[at], block


# Half the time to compile, the same time to run.
@functools.partial(jax.jit, static_argnames="shape", compiler_options={"xla_backend_optimization_level": 1})
def _draw(data, label, places, shape):
    def one(data, place):
        key = jax.random.fold_in(jax.random.wrap_key_data(data), label)
        key = jax.random.fold_in(jax.random.fold_in(key, place[0]), place[1])
        return jax.random.normal(key, shape)

    return jax.vmap(one)(data, places)
