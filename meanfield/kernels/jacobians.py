"""Kernels of a finite network, whatever it is: NNGP and NTK at its present parameters, and their spectrum."""

import collections
import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from meanfield.base.checks import array, boolean, fail, function, integer, require
from meanfield.base.precision import HIGHEST, double
from meanfield.kernels.kernel import Kernel

ARRAYS = (np.ndarray, jax.Array)
COPIES = 4  # blocks of factors that exist at once: two, and what a backward pass works on


def empirical(apply, params, x1, x2=None, *, outputs=False, memory=2**30):
    """Σ̂(x, x') = (1/k) Σ_c f_c(x) f_c(x') and Θ̂(x, x') = (1/k) Σ_c ∇f_c(x) · ∇f_c(x') of one network.

    ∇ is over all parameters, with the weight 1 for each: a learning rate n^{−c_l} by layer is not in it. A
    parameter W that enters once, as W x with one vector x for each sample (scaled by a number, transposed,
    inside `jit`), has ∇_W f_c = g_c xᵀ, g_c = ∂f_c/∂(W x): its part is (x·x')(g_c·g'_c), and no Jacobian is
    formed. Any other parameter (biases, convolutions, weights that are used twice or inside loops) has its
    Jacobian contracted, parameter by parameter. Samples are taken in blocks, so that the factors and
    Jacobians in use stay below `memory`.

    Args:
        apply: (params, x (P, …)) → f (P, k) or (P,), JAX code that treats each sample by itself.
        params: any tree of arrays; the precision of the computation is theirs.
        x1, x2: samples, (P, …) and (P', …); x2 = None is x1, computed once.
        outputs: whether to keep outputs apart: `ntk` is ∇f_c(x) · ∇f_c'(x'), (P, k, P', k).
        memory: bytes that blocks of factors may take, on top of the parameters and the result.
    Returns:
        Kernel(nngp (P, P'), ntk (P, P') or (P, k, P', k)), numpy, as `meanfield.kernels.predict` takes them.
    Raises:
        TypeError, ValueError: one sentence naming the argument; ValueError if one sample needs more than
            `memory`.
    Accuracy: rounding of the parameters' type.
    Cost: with the vectors x, g of dense layers P (1 + k) passes through the network, then P P' k Σ n (k² for
        k with `outputs`); Jacobians cost P P' k times their parameters. Where P samples do not fit into
        `memory` the passes of x2 are repeated for every block of x1.
    Source: the contraction of structured derivatives, Novak, Sohl-Dickstein & Schoenholz (2022, section 3).
    """
    function("apply", apply, "a function of parameters and samples")
    outputs, memory = boolean("outputs", outputs), integer("memory", memory, 1)
    with double():
        leaves, tree = jax.tree.flatten(params)
        require(any(map(_moves, leaves)), "params", "a tree with at least one array of real numbers", params)
        dtype = jnp.result_type(*filter(_moves, leaves))
        leaves = tuple(leaf if isinstance(leaf, ARRAYS) else jnp.asarray(leaf) for leaf in leaves)
        x1 = _samples("x1", x1, dtype)
        x2 = x1 if x2 is None else _samples("x2", x2, dtype)
        require(x1.shape[1:] == x2.shape[1:], "x2", f"samples of shape {x1.shape[1:]} as in `x1`", x2)
        network = _Network(apply, tree, _output_size(apply, tree, leaves, x1))
        shape = (network.outputs,) * outputs
        size = _block_size(network, leaves, x1, max(len(x1), len(x2)), outputs, memory)
        if x2 is x1 and size == len(x1):
            return Kernel(*map(np.asarray, _square(network, leaves, x1, outputs)))
        leaves = jax.device_put(leaves)  # once for all blocks
        nngp = np.empty((len(x1), len(x2)), dtype)
        ntk = np.empty((len(x1), *shape, len(x2), *shape), dtype)
        for rows in _slices(0, len(x1), size):
            left = _factors(network, leaves, _filled(x1, rows, size))
            for columns in _slices(rows.start if x2 is x1 else 0, len(x2), size):
                same = x2 is x1 and columns == rows
                right = left if same else _factors(network, leaves, _filled(x2, columns, size))
                tiles = _contract(left, right, outputs)
                nngp[rows, columns] = _cut(tiles[0], rows, columns)
                tile = ntk[(rows, *_all(shape), columns)] = _cut(tiles[1], rows, columns)
                if x2 is x1 and not same:
                    nngp[columns, rows] = nngp[rows, columns].T
                    ntk[(columns, *_all(shape), rows)] = tile.transpose(2, 3, 0, 1) if outputs else tile.T
    return Kernel(nngp, ntk)


def spectrum(kernel):
    """Eigenvalues of a kernel, decreasing, (P,) or (P k,).

    Args:
        kernel: symmetric, (P, P) or (P, k, P, k): `nngp` or `ntk` of any of the kernels here.
    Raises:
        ValueError: if it is not square.
    Accuracy: rounding of the largest one. Cost P³k³.
    """
    kernel = array("kernel", kernel, (2, 4), "a square kernel")
    rows = math.prod(kernel.shape[: kernel.ndim // 2])
    require(kernel.shape[: kernel.ndim // 2] == kernel.shape[kernel.ndim // 2 :], "kernel", "square", kernel)
    return np.linalg.eigvalsh(kernel.reshape(rows, rows))[::-1]


def _moves(leaf):
    return jnp.issubdtype(jnp.result_type(leaf), jnp.floating)


def _samples(name, x, dtype):
    require(np.ndim(x) >= 1 and np.size(x) > 0, name, "an array of samples (samples, ...)", x)
    x = np.asarray(x)
    return x.astype(dtype) if x.dtype.kind == "f" else x


def _output_size(apply, tree, leaves, x):
    """k, after a look at the shapes."""
    return _seen_output_size(apply, tree, *_abstract((leaves, x[:1])))


@functools.lru_cache(maxsize=128)
def _seen_output_size(apply, tree, leaves, x):
    try:
        shape = jax.eval_shape(lambda p, x: apply(jax.tree.unflatten(tree, p), x), leaves, x).shape
    except Exception as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise TypeError(
            f"Argument `apply` must be JAX code for parameters and samples, but fails: {reason}."
        ) from None
    if len(shape) not in (1, 2) or shape[0] != 1:
        fail("apply", "a function that gives (samples, outputs) or (samples,)", f"shape {shape} for 1 sample")
    return math.prod(shape)


class _Network(NamedTuple):
    """What a compiled pass depends on."""

    apply: object
    tree: object
    outputs: int

    def program(self, leaves, x):
        """The jaxpr of f(leaves, one sample)."""

        def one(leaves, x):
            return self.apply(jax.tree.unflatten(self.tree, leaves), x[None]).reshape(self.outputs)

        return jax.make_jaxpr(one)(*_abstract((leaves, x)))

    def dense(self, leaves, x):
        """(index of the parameter, length of x, length of W x) for every dense layer, in their order."""
        return _seen_dense(self, *_abstract((leaves, x)))

    def factors(self, leaves, x):
        """f (k,), vectors x, g (k, n) of dense layers, Jacobians (k, parameters) of the rest: one sample."""
        program, layers = self.program(leaves, x), self.dense(leaves, x)
        dense = {index for index, _, _ in layers}
        rest = [i for i, leaf in enumerate(leaves) if _moves(leaf) and i not in dense]

        def outputs(shifts, values):
            shifts, vectors, inputs = iter(shifts), [], list(leaves)
            for i, value in zip(rest, values, strict=True):
                inputs[i] = value

            def shifted(_, vector, product):
                vectors.append(vector)
                return product + next(shifts).reshape(product.shape).astype(product.dtype)

            return _run(program, (*inputs, x), _names(leaves), shifted)[0][0], vectors

        zeros = [jnp.zeros(size, jnp.result_type(leaves[index])) for index, _, size in layers]
        f, pull, vectors = jax.vjp(outputs, zeros, [leaves[i] for i in rest], has_aux=True)
        g, jacobians = jax.vmap(pull)(jnp.eye(self.outputs, dtype=f.dtype))
        return f, vectors, g, [j.reshape(self.outputs, -1) for j in jacobians]


@functools.lru_cache(maxsize=128)
def _seen_dense(network, leaves, x):
    found = []

    def note(index, vector, product):
        found.append((index, vector.size, product.size))
        return product

    program = network.program(leaves, x)
    jax.eval_shape(lambda *inputs: _run(program, inputs, _names(leaves), note)[0], *leaves, x)
    return found


def _abstract(arrays):
    """Shapes and types, which are what looks at a network are remembered by."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), arrays)


def _names(leaves):
    """The parameters as multiples, by 1, of themselves; None for the sample."""
    return [(i, 1.0) if _moves(leaf) else None for i, leaf in enumerate(leaves)] + [None]


def _run(program, inputs, names, dense):
    """Values of a jaxpr, and which of them are a parameter times a number: (index, number) or None.

    Where such a value, used here and nowhere else, multiplies one vector, `dense(index, number · vector,
    product)` is called, and what it returns takes the product's place.
    """
    jaxpr = program.jaxpr
    values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*program.consts, *inputs), strict=True))
    multiples = dict(zip(jaxpr.invars, names, strict=True))
    read = [v for v in (*(v for e in jaxpr.eqns for v in e.invars), *jaxpr.outvars) if not hasattr(v, "val")]
    uses = collections.Counter(read)

    def value(v):
        return v.val if hasattr(v, "val") else values[v]  # a literal holds its value

    def multiple(v):
        return None if hasattr(v, "val") or uses[v] > 1 else multiples.get(v)

    for equation in jaxpr.eqns:
        operands, known = [value(v) for v in equation.invars], [multiple(v) for v in equation.invars]
        if equation.primitive.name in ("jit", "pjit"):
            results, carried = _run(equation.params["jaxpr"], operands, known, dense)
        else:
            results = _evaluate(equation, operands)
            carried = [None] * len(results)
            if sum(k is not None for k in known) == 1:
                results, carried = _linear(equation, operands, known, results, dense)
        values.update(zip(equation.outvars, results, strict=True))
        multiples.update(zip(equation.outvars, carried, strict=True))
    return [value(v) for v in jaxpr.outvars], [multiple(v) for v in jaxpr.outvars]


def _evaluate(equation, operands):
    """Results of one equation of a jaxpr."""
    functions, options = (), equation.primitive.get_bind_params(equation.params)
    if isinstance(options, tuple):  # older versions of JAX give the functions apart
        functions, options = options
    results = equation.primitive.bind(*functions, *operands, **options)
    return results if equation.primitive.multiple_results else [results]


def _linear(equation, operands, known, results, dense):
    """What becomes of a multiple of a parameter in one operation."""
    name, at = equation.primitive.name, next(i for i, k in enumerate(known) if k is not None)
    index, number = known[at]
    if name in ("transpose", "neg", "copy"):
        return results, [known[at]]  # no matter to products x·x' and g·g'
    other = operands[1 - at] if len(operands) == 2 else None
    if name in ("mul", "div") and jnp.ndim(other) == 0 and (name == "mul" or at == 0):
        return results, [(index, number * other if name == "mul" else number / other)]
    if name == "dot_general":
        contracted, batched = equation.params["dimension_numbers"]
        axes = contracted[1 - at]
        if not batched[0] and math.prod(other.shape[i] for i in axes) == other.size:
            rest = [i for i in range(other.ndim) if i not in axes]
            vector = jnp.transpose(other, (*axes, *rest)).ravel()
            return [dense(index, number * vector, results[0])], [None]
    return results, [None] * len(results)


def _block_size(network, leaves, x, samples, outputs, memory):
    """Largest number of samples whose factors, COPIES times, and three tiles stay below `memory` bytes."""
    k, layers = network.outputs, network.dense(leaves, jnp.asarray(x[0]))
    dense = {index for index, _, _ in layers}
    rest = sum(leaf.size for i, leaf in enumerate(leaves) if _moves(leaf) and i not in dense)
    width = max(leaf.dtype.itemsize for leaf in leaves if _moves(leaf))
    linear = COPIES * width * (k + sum(n + k * m for _, n, m in layers) + k * rest)
    square = 3 * width * (k * k if outputs else 1)
    size = int((math.sqrt(linear**2 + 4 * square * memory) - linear) / (2 * square))
    require(size >= 1, "memory", f"at least {linear + square} bytes for one sample", memory)
    return min(size, samples)


@functools.partial(jax.jit, static_argnums=0)
def _factors(network, leaves, x):
    return jax.vmap(network.factors, (None, 0))(leaves, x)


def _slices(first, last, size):
    return [slice(i, min(i + size, last)) for i in range(first, last, size)]


def _filled(x, rows, size):
    """A block of samples; the last one is filled up with its end, so that all have one shape."""
    return jnp.asarray(x[np.minimum(np.arange(rows.start, rows.start + size), rows.stop - 1)])


@functools.partial(jax.jit, static_argnums=2)
def _contract(left, right, outputs):
    """(1/k) Σ_c f_c f_c' and the tangent kernel of two blocks."""
    (f1, x1, g1, j1), (f2, x2, g2, j2) = left, right
    k = f1.shape[1]

    def product(a, b):
        """Over the last axis, and over outputs as well if they are not kept; one matrix product."""
        a, b = (v.reshape(-1 if outputs else len(v), v.shape[-1] * (1 if outputs else k)) for v in (a, b))
        found = jnp.matmul(a, b.T, precision=HIGHEST)
        return found.reshape(len(f1), k, len(f2), k) if outputs else found

    ntk = 0
    for a, b, c, d in zip(x1, x2, g1, g2, strict=True):
        forward = jnp.matmul(a, b.T, precision=HIGHEST)
        ntk += (forward[:, None, :, None] if outputs else forward) * product(c, d)
    for a, b in zip(j1, j2, strict=True):
        ntk += product(a, b)
    return jnp.matmul(f1, f2.T, precision=HIGHEST) / k, ntk if outputs else ntk / k


@functools.partial(jax.jit, static_argnums=(0, 3))
def _square(network, leaves, x, outputs):
    """Both kernels of one block with itself."""
    factors = jax.vmap(network.factors, (None, 0))(leaves, x)
    return _contract(factors, factors, outputs)


def _all(shape):
    return (slice(None),) * len(shape)


def _cut(tile, rows, columns):
    """A tile without the samples that filled up the last blocks."""
    tile = np.asarray(tile)[: rows.stop - rows.start]
    count = columns.stop - columns.start
    return tile[:, :, :count] if tile.ndim == 4 else tile[:, :count]
