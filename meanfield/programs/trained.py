"""What an exact network without its matrices and the limit of a program share: state, steps, looks."""

import dataclasses
import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from meanfield.base.precision import double
from meanfield.model.gradient_descent import GradientDescent
from meanfield.model.problem import Problem
from meanfield.model.system import System
from meanfield.programs.arrays import matrices, scalars, vectors
from meanfield.programs.checked import check_program
from meanfield.programs.draws import gaussian_vectors
from meanfield.programs.held import released
from meanfield.programs.path import Path, along, numbered, renumbered
from meanfield.programs.revealed import LEFT, RIGHT, Revealed, Side, Weights, empty_side, unlooked
from meanfield.programs.tall import moment

SMALL_BUFFER = 1e7  # bytes up to which a buffer starts with room for what most trainings reveal
USUAL = 20  # times the columns of a step: what hundreds of steps reveal at a tolerance of 1e-3
PILOT = 2048  # rows of the training that tells larger ones how many columns they need
LARGE = 32  # times as many rows as a pilot has: where it costs nothing in comparison
MARGIN = 1.05  # columns for each one that the pilot needed
GROWTH = 2
TILE = 16  # buffers have a multiple of so many columns
ON_HOST = 1e8  # bytes up to which buffers are made and widened on the host


class State(NamedTuple):
    """Vectors, scalars and Weights of the matrices; the training's memory; bases {name: (right, left)}; the
    key that draws derive from, as data; whether the last step saw finite predictions and loss; where draws
    are matched, those that vectors started from, the odd ones apart; where particles are differentiated along
    their path, the tangents (K, n, ·) of the arrays of parameters, memory and bases with a row for each."""

    parameters: dict
    memory: Any
    bases: dict
    key: jax.Array
    finite: jax.Array
    drawn: tuple = ()
    tangents: tuple = ()


class Counting:
    """`ops` that count the columns each side of each matrix is given in one step."""

    def __init__(self, names):
        self.columns = {(name, side): 0 for name in names for side in (RIGHT, LEFT)}
        self._seen = {}

    def matmul(self, name, x):
        return self._met(name, RIGHT, x)

    def transpose_matmul(self, name, g):
        return self._met(name, LEFT, g)

    def moment(self, x, y):
        return jnp.einsum("np,nq->pq", x, y) / x.shape[0]

    def update(self, name, left, right):
        self._met(name, RIGHT, right)

    def forget(self, name, when):
        pass

    def _met(self, name, side, x):
        if (name, side, id(x)) not in self._seen:
            self._seen[name, side, id(x)] = x
            self.columns[name, side] += x.shape[1]
        return 1.0 * x


class Looked(NamedTuple):
    """A network at one time, as observables see it: parameters, bases, what its draws derive from, and what
    looks have revealed beyond the bases, which all that one observable looks at has in common; tangents as in
    `State`, and the Gaussians that they are for."""

    parameters: dict
    bases: dict
    key: jax.Array
    drawn: tuple
    shared: dict
    tangents: tuple = ()
    path: Path | None = None


class RevealedSystem(System):
    """Training of a program over revealed bases. Subclasses are pytrees with the fields `held`, `rows`,
    `needs` (columns a step may add to each side of each matrix), `sizes` (columns the buffers have),
    `tolerance` and the static choices `finite`, `sampler`."""

    growing = True
    responses = "parts"

    @property
    def program(self):
        return released(self.held)

    def check(self, problem, training):
        if not isinstance(training, GradientDescent):
            raise ValueError(
                f"Argument `training` must be GradientDescent for {self.kind}, whose updates must be linear "
                f"in the gradient to keep their low rank, but is {type(training).__name__}."
            )
        with double():
            check_program(self.program, problem, training)

    def settled(self, problem):
        return self

    def plan(self, problem, training, seeds, memory, looks=False):
        """With the columns that a step needs and buffers to begin with."""
        needs = self.counted(problem, training)
        itemsize = 4 if self.dtype == "float32" else 8
        room = int(SMALL_BUFFER / (itemsize * self.rows))
        sizes = tuple(
            (place, _tiled(max(2 * columns, min((training.steps + 1) * columns, 12 * columns, room))))
            for place, columns in needs
        )
        arrays = self.program.arrays(problem)
        deviations = tuple((name, float(arrays[name].deviation)) for name in matrices(arrays))
        return dataclasses.replace(self, needs=needs, sizes=sizes, deviations=deviations), seeds

    def counted(self, problem, training):
        """((name, side), columns) that one step of training adds to the bases at most."""
        program, arrays = self.program, self.program.arrays(problem)
        counting = Counting(matrices(arrays))

        def step():
            x, y, weight = problem.batch(0, training.batch_size, training.batch_key)
            p = {name: jnp.ones((2, v.columns)) for name, v in vectors(arrays).items()}
            p |= {name: jnp.zeros(s.shape) for name, s in scalars(arrays).items()}
            passed = program.forward(counting, p, x)
            program.gradient(counting, p, x, passed, problem.residual(passed.output, y, weight), 0)

        jax.eval_shape(step)
        return tuple(counting.columns.items())

    @property
    def follows(self):
        """Whether particles are differentiated along their path."""
        return self.responses == "path" and bool(self.sizes)

    # -- the state ---------------------------------------------------------------------------------------

    def start(self, problem, training, keys):
        """The state at step 0 of the network (or replicate) of the first of the keys; drawn on the host."""
        arrays, dtype = self.program.arrays(problem), np.dtype(self.dtype)
        labels = {name: label for label, name in enumerate(sorted(arrays))}
        parameters, drawn, sampler = {}, {False: [], True: []}, self.sampler
        wanted = {name: (labels[name], kind.columns) for name, kind in sorted(vectors(arrays).items())}
        first = sampler.first(keys[:1], sampler.drawn(self.rows), wanted, dtype)
        for name, kind in sorted(vectors(arrays).items()):
            draws = sampler.arrange(first[name], kind.odd, drawn[kind.odd], np)
            if sampler.matched and sampler.fits(self.rows, drawn[kind.odd], kind.columns):
                drawn[kind.odd].append(draws)
            parameters[name] = jnp.asarray(kind.deviation * draws, dtype)
        for name, kind in scalars(arrays).items():
            draws = gaussian_vectors(keys[:1], labels[name], 1, math.prod(kind.shape), dtype)
            parameters[name] = jnp.asarray(kind.deviation * draws.reshape(kind.shape), dtype)
        sizes, bases = dict(self.sizes), {}
        for name in matrices(arrays):
            moved = zeros((self.rows, sizes[name, RIGHT]), dtype)
            parameters[name] = Weights(jnp.ones((), dtype), moved)
            columns = (sizes[name, RIGHT], sizes[name, LEFT])
            empty = [empty_side(self.rows, size, dtype, sampler.matched, zeros) for size in columns]
            bases[name] = tuple(jax.tree.map(jnp.asarray, side) for side in empty)
        # The draws of matrices are fold_in(key, 0), those of vectors block by block from other numbers.
        key = jnp.asarray(np.asarray(jax.random.key_data(keys[0])))
        nothing = np.zeros((self.rows, 0), dtype)
        drawn = tuple(jnp.asarray(np.concatenate([nothing, *drawn[odd]], 1)) for odd in (False, True))
        memory, true = training.init(parameters), jnp.array(True)
        state = State(parameters, memory, bases, key, true, drawn if sampler.matched else ())
        if not self.follows:
            return state
        _, count = numbered(self.sizes)
        still = lambda leaf: zeros((count, *leaf.shape), dtype)  # noqa: E731
        return state._replace(tangents=jax.tree.map(still, self._particles(state)))

    def _particles(self, network):
        """Arrays with a row for every particle, of parameters, bases and the training's memory."""
        slots = getattr(network, "memory", None) and network.memory.slots
        trees = (network.parameters, _without_noise(network.bases), slots)
        return tuple([leaf for leaf in jax.tree.leaves(tree) if self._has_rows(leaf)] for tree in trees)

    def _with_particles(self, network, particles):
        """The state, or what is looked at, with other such arrays."""
        parameters, bases, slots = (iter(arrays) for arrays in particles)

        def filled(tree, arrays):
            return jax.tree.map(lambda leaf: next(arrays) if self._has_rows(leaf) else leaf, tree)

        own = filled(_without_noise(network.bases), bases)
        bases = {
            name: tuple(new._replace(noise=old.noise) for new, old in zip(own[name], sides, strict=True))
            for name, sides in network.bases.items()
        }
        network = network._replace(parameters=filled(network.parameters, parameters), bases=bases)
        if getattr(network, "memory", None) is None:
            return network
        return network._replace(memory=network.memory._replace(slots=filled(network.memory.slots, slots)))

    def _has_rows(self, leaf):
        return leaf.ndim == 2 and leaf.shape[0] == self.rows

    def with_buffers(self, sizes):
        return dataclasses.replace(self, sizes=sizes)

    def core(self):
        return self

    def pilot(self, training):
        """A smaller system that reveals about as much, or None where this one is small itself."""
        if self.rows < LARGE * PILOT:
            return None
        most = {place: min((training.steps + 1) * columns, PILOT // 8) for place, columns in self.needs}
        sizes = ((place, max(size, _tiled(most[place]))) for place, size in self.sizes)
        return self.with_rows(PILOT).with_buffers(tuple(sizes))

    def sized(self, state):
        """With buffers for half of what the pilot had revealed when it ended in `state`: they grow once."""
        needs, sizes = dict(self.needs), []
        for (name, side), size in self.sizes:
            most = MARGIN * int(state.bases[name][side].rank) + needs[name, side]
            sizes.append(((name, side), max(size, _tiled(most / GROWTH))))
        return self.with_buffers(tuple(sizes))

    def full(self, state):
        """Whether another step might not fit into the buffers."""
        short = np.False_
        for (name, side), need in self.needs:
            own = state.bases[name][side]
            short = short | (own.rank + need > own.basis.shape[1])
        return short

    def grow(self, state):
        """(system, state) with larger buffers where another step might not fit; large arrays of the state
        given are used up."""
        sizes = dict(self.sizes)
        for (name, side), need in self.needs:
            rank = int(state.bases[name][side].rank)
            if rank + need > sizes[name, side]:
                sizes[name, side] = _tiled(max(GROWTH * sizes[name, side], rank + need))
        bases = {
            name: tuple(_widened(side, sizes[name, s]) for s, side in enumerate(sides))
            for name, sides in state.bases.items()
        }

        def moved(leaf):
            if not isinstance(leaf, Weights):
                return leaf
            name = next(names)
            return leaf._replace(moved=_padded(leaf.moved, sizes[name, RIGHT]))

        def wider(tree):
            nonlocal names
            names = iter(sorted(bases))  # the order in which dictionaries are flattened
            return jax.tree.map(moved, tree, is_leaf=lambda leaf: isinstance(leaf, Weights))

        names = iter(())
        slots = state.memory.slots
        memory = state.memory if slots is None else state.memory._replace(slots=wider(slots))
        state = state._replace(parameters=wider(state.parameters), memory=memory, bases=bases)
        sizes = tuple(sizes.items())
        if self.follows:
            tangents = jax.tree.map(
                lambda t, leaf: renumbered(np.asarray(t), leaf.shape[1], self.sizes, sizes),
                *(state.tangents, self._particles(state)),
            )
            state = state._replace(tangents=tangents)
        return dataclasses.replace(self, sizes=sizes), state

    def reading(self, network, keep, looked=None, path=None):
        """`ops` on a state or on what is looked at."""
        names = sorted(network.bases)
        key = jax.random.fold_in(jax.random.wrap_key_data(network.key), 0x72657665)

        def draw(name, side, rank, count, shape, blocks):
            own = jax.random.fold_in(key, 2 * names.index(name) + side)
            rows, dtype = self.sampler.drawn(shape[0]), jnp.dtype(self.dtype)

            def column(i, drawn):
                new = jax.random.normal(jax.random.fold_in(own, rank + i), (rows, 1), dtype)
                return jax.lax.dynamic_update_slice(drawn, new, (jnp.zeros_like(i), i))

            draws = jax.lax.fori_loop(0, count, column, jnp.zeros((rows, shape[1]), dtype))
            if self.sampler.matched:
                blocks = [network.drawn[int(side == LEFT)], *blocks]
            return self.sampler.arrange(draws, side == LEFT, blocks)

        weights = {name: network.parameters[name] for name in names}
        deviations = dict(self.deviations)
        return Revealed(
            network.bases, weights, draw, deviations, finite=self.finite, tolerance=self.tolerance, keep=keep,
            looked=looked, path=path,
        )  # fmt: skip

    def read(self, network, function):
        """`function(ops, parameters)` on inputs that are only looked at."""
        shared = getattr(network, "shared", None)
        if not self.follows:
            return function(self.reading(network, False, shared), network.parameters)
        counting = Counting(network.bases)

        def count(parameters):
            function(counting, parameters)

        jax.eval_shape(count, network.parameters)
        columns = counting.columns
        # A look has responses to Gaussians of its own only where it meets both sides of a matrix.
        both = any(columns[name, RIGHT] and columns[name, LEFT] for name in network.bases)
        room = sum(columns.values()) if both or shared is not None else 0
        path = getattr(network, "path", None) or Path(self.sizes)

        def along_path(particles, revealed):
            own = self._with_particles(network, particles)
            return function(self.reading(own, False, revealed, path), own.parameters)

        revealed = unlooked(network.bases) if shared is None else shared
        return path.look(along_path, self._particles(network), network.tangents, revealed, room)

    # -- steps and looks ---------------------------------------------------------------------------------

    def step(self, problem, training, state):
        """(the next state, the predictions that the step saw)."""
        if not self.follows:
            return self._step(problem, training, state)

        def step(particles, moved):
            own = self._with_particles(state, particles)
            later, f = self._step(problem, training, own, Path(self.sizes, moved))
            return self._particles(later), (later, f)

        tangents, (later, f) = along(step, self._particles(state), state.tangents)
        return later._replace(tangents=tangents), f

    def _step(self, problem, training, state, path=None):
        count, p = training.count(state.memory), state.parameters
        x, y, weight = problem.batch(count, training.batch_size, training.batch_key)
        ops = self.reading(state, keep=True, path=path)
        passed = self.program.forward(ops, p, x)
        f = passed.output.astype(self.dtype)  # a program may have made wider numbers on its way
        chi = problem.residual(f, y, weight)
        direction = self.program.gradient(ops, p, x, passed, chi, count)
        direction = {**direction, **ops.gradients}
        decay = training.weight_decay

        def along(name, value):
            own = direction.get(name)
            if own is None:
                return jax.tree.map(lambda w: (decay * w).astype(w.dtype), value)
            return jax.tree.map(lambda g, w: (g + decay * w).astype(w.dtype), own, value)

        gradient = {name: along(name, value) for name, value in p.items()}
        parameters, memory = training.update(gradient, state.memory, p, None)
        for name, when in ops.forgotten.items():
            w = parameters[name]
            parameters[name] = w._replace(start=jnp.where(when, 0, w.start))
        finite = jnp.isfinite(f).all() & jnp.isfinite(problem.risk(f, y))
        return State(parameters, memory, ops.bases, state.key, finite, state.drawn), f

    def shared(self, problem, training):
        """Whether a step sees the predictions on the whole training set."""
        return isinstance(problem, Problem) and training.batch_size in (None, problem.samples)

    def observe(self, problem, state, train=True):
        """Predictions and losses, on the training set only where no step sees them.

        Test inputs are looked at after training inputs, with the draws that the next step on all of these
        makes: an input that is in both sets has one prediction, at step 0 too.
        """
        tested, seen = problem.x_test is not None, {}

        def look(ops, p):
            inputs = (problem.x, problem.x_test) if tested else (problem.x,)
            return [self.program.forward(ops, p, x).output.astype(self.dtype) for x in inputs]

        f = self.read(state, look) if train or tested else []
        if train:
            seen = {"prediction": f[0], "loss": problem.risk(f[0], problem.y)}
        if tested:
            test = f[1]
            seen["test_prediction"] = test
            if problem.y_test is not None:
                seen["test_loss"] = problem.risk(test, problem.y_test)
        ranks = [jnp.stack([side.rank for side in state.bases[name]]) for name in sorted(state.bases)]
        seen["rank"] = jnp.stack(ranks) if ranks else jnp.zeros((0, 2), jnp.int32)
        return seen

    def coordinates(self, problem):
        names = sorted(matrices(self.program.arrays(problem)))
        return {
            "matrix": ("matrix", np.array(names, dtype=str), {"long_name": "matrix", "units": "1"}),
            "side": ("side", np.array(["right", "left"]), {"long_name": "met by W or by its transpose"}),
        }

    @property
    def layers(self):
        return self.program.hidden_layers

    def features(self, network, x, layer):
        """x^l, (n, P)."""
        return self.forward(network, x, lambda passed: passed.features[layer - 1])

    def feature_kernel(self, network, x, layer):
        """Φ^l(x, x') = E[x^l(x) x^l(x')], (P, P)."""
        features = self.features(network, x, layer)
        return moment(features, features)

    def preactivations(self, network, x, layer):
        """h^l, (n, P)."""
        return self.forward(network, x, lambda passed: passed.preactivations[layer - 1])

    @property
    def gradient_kernel(self):
        """G^l(network, x, layer), (P, k, P, k), of a program that has one."""
        kernel = self.program.gradient_kernel
        return lambda network, x, layer: self.read(network, lambda ops, p: kernel(ops, p, x, layer))

    @property
    def layer_kernels(self):
        """(Φ^l (L, P, P), G^l (L, P, k, P, k))(network, x), of a program that has them."""
        kernels = self.program.layer_kernels
        return lambda network, x: self.read(network, lambda ops, p: kernels(ops, p, x))

    @property
    def tangent_kernel(self):
        """K(network, x), (P, k, P, k), of a program that has one."""
        kernel = self.program.tangent_kernel
        return lambda network, x: self.read(network, lambda ops, p: kernel(ops, p, x))

    def forward(self, network, x, wanted):
        """`wanted(passed)` of the forward pass on inputs that are only looked at."""
        return self.read(network, lambda ops, p: wanted(self.program.forward(ops, p, x)))

    def predict(self, network, x):
        return self.forward(network, x, lambda passed: passed.output.astype(self.dtype))

    def look(self, function, state, initial):
        """`function(network now, network at step 0)`.

        Both are read through the bases of now and share what looks reveal: one and the same matrix W₀ acts on
        the fields of both, on inputs that training has not seen too.
        """
        shared, start = unlooked(state.bases), dict(initial.parameters)
        for name in state.bases:
            moved = jnp.zeros_like(state.parameters[name].moved)
            start[name] = initial.parameters[name]._replace(moved=moved)
        seen = (state.bases, state.key, state.drawn, shared)
        if not self.follows:
            return function(Looked(state.parameters, *seen), Looked(start, *seen))
        path, (moved, bases, _) = Path(self.sizes), state.tangents
        still = jax.tree.map(jnp.zeros_like, moved)  # drawn before any Gaussian of a matrix
        now = Looked(state.parameters, *seen, (moved, bases, []), path)
        return function(now, Looked(start, *seen, (still, bases, []), path))

    # -- size ----------------------------------------------------------------------------------------------

    def memory_bytes(self, problem, training):
        """Bytes of buffers for what most trainings reveal, of vectors, and of the fields of a step."""
        itemsize = 4 if self.dtype == "float32" else 8
        arrays = self.program.arrays(problem)
        columns = (2 + self.sampler.matched) * sum(v.columns for v in vectors(arrays).values())
        planned = self if self.sizes else self.plan(problem, training, 1, math.inf)[0]
        for ((_, side), size), (_, need) in zip(planned.sizes, planned.needs, strict=True):
            size = max(size, need * min(training.steps + 1, USUAL))
            columns += size * (2 + (side == RIGHT) * (1 + training.has_momentum) + self.sampler.matched)
        samples = max(problem.samples, 0 if problem.x_test is None else problem.x_test.shape[0])
        columns += 8 * samples * (1 + len(matrices(arrays)))
        return itemsize * self.rows * columns * self._directions(problem, training)

    def operations(self, problem, training):
        """Multiplications and additions in one step, for bases of the starting size."""
        sizes = self.sizes or self.plan(problem, training, 1, math.inf)[0].sizes
        samples = training.batch_size or problem.samples
        columns = sum(v.columns for v in vectors(self.program.arrays(problem)).values())
        passes = 3 * columns + 5 * sum(size for _, size in sizes)
        return 2.0 * self.rows * samples * passes * self._directions(problem, training)

    def _directions(self, problem, training):
        """How often everything is computed: once, and along every Gaussian that is followed."""
        if self.responses == "parts":
            return 1
        sizes = self.sizes or self.plan(problem, training, 1, math.inf)[0].sizes
        return 1 + sum(size for _, size in sizes)


def _without_noise(bases):
    return {name: tuple(side._replace(noise=None) for side in sides) for name, sides in bases.items()}


def _tiled(columns):
    return TILE * math.ceil(columns / TILE)


def zeros(shape, dtype):
    """On the device where they are large, else from the host, where nothing is compiled."""
    if math.prod(shape) * np.dtype(dtype).itemsize > ON_HOST:
        return jnp.zeros(shape, dtype)
    return jnp.asarray(np.zeros(shape, dtype))


@functools.partial(jax.jit, static_argnames="columns")
def _with_zeros(array, columns):
    return jnp.pad(array, [(0, 0), (0, columns - array.shape[1])])


def _padded(array, columns):
    """With zero columns up to that number; a large array is used up, so that only one is there twice."""
    if array.shape[1] == columns:
        return array
    if array.nbytes > ON_HOST:
        wide = jax.block_until_ready(_with_zeros(array, columns))
        array.delete()
        return wide
    wide = np.zeros((array.shape[0], columns), array.dtype)
    wide[:, : array.shape[1]] = np.asarray(array)
    return jnp.asarray(wide)


def _widened(side, columns):
    noise = None if side.noise is None else _padded(side.noise, columns)
    return Side(_padded(side.basis, columns), _padded(side.image, columns), side.rank, noise)
