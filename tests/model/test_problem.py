"""Problems and streams: what a step sees, and that it is the same for everybody."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from assertions import EPS

import meanfield as mf
from meanfield.base.fingerprint import describe
from meanfield.base.precision import double


def numbered(samples):
    """A problem whose inputs say which sample they are."""
    return mf.Problem(np.arange(float(samples))[:, None], -np.arange(float(samples)))


@functools.partial(jax.jit, static_argnums=2)
def _batches(problem, steps, size, key):
    return jax.vmap(lambda step: problem.batch(step, size, key))(steps)


def batches(problem, steps, size, key=0):
    """(rows, weights) of steps 0 ... steps − 1."""
    with double():
        x, y, weight = jax.tree.map(np.asarray, _batches(problem, jnp.arange(steps), size, key))
    np.testing.assert_array_equal(y, -x)
    return x[..., 0].astype(int), weight


@pytest.mark.parametrize("samples, size, key", [(9, 4, 1), (8, 5, 2**40)])
def test_every_epoch_covers_every_sample_at_most_once_and_weights_sum_to_one(samples, size, key):
    per_epoch = samples // size
    rows, weight = batches(numbered(samples), 3 * per_epoch, size, key)
    for epoch in rows.reshape(3, -1):
        assert len(set(epoch)) == per_epoch * size <= samples
        assert set(epoch) <= set(range(samples))
    np.testing.assert_allclose(weight.sum(1), 1, rtol=0, atol=size * EPS)
    assert (weight == 1 / size).all()


def test_an_epoch_is_a_permutation_where_the_size_divides_the_samples():
    rows, _ = batches(numbered(12), 4800, 3)
    assert (np.sort(rows.reshape(1200, 12)) == np.arange(12)).all()


def test_epochs_and_keys_give_different_orders():
    rows, _ = batches(numbered(12), 4800, 3)
    assert len({epoch.tobytes() for epoch in rows.reshape(1200, 12)}) == 1200  # of 5e8 orders
    assert (batches(numbered(12), 4800, 3, key=1)[0] != rows).any()


def test_every_sample_comes_first_equally_often(key):
    """First sample of 1200 epochs: χ² with eleven degrees of freedom, false alarms 1e-6."""
    rows, _ = batches(numbered(12), 4800, 3, key)
    counts = np.bincount(rows[::4, 0], minlength=12)
    assert scipy.stats.chisquare(counts).pvalue > 1e-6


def test_without_a_batch_size_a_step_sees_the_training_set_in_order():
    problem = numbered(5)
    for size in (None, 5):
        x, y, weight = problem.batch(3, size, 0)
        np.testing.assert_array_equal(x, problem.x)
        np.testing.assert_array_equal(y, problem.y)
        np.testing.assert_allclose(np.asarray(weight), 0.2, rtol=1e-6)


def test_targets_are_kept_as_columns_and_everything_as_float64():
    problem = mf.Problem([[1, 2], [3, 4]], [True, False], x_test=np.float32([[1, 2]]), y_test=[7])
    assert problem.y.shape == (2, 1) and problem.y_test.shape == (1, 1)
    for leaf in (problem.x, problem.y, problem.x_test, problem.y_test):
        assert isinstance(leaf, np.ndarray) and leaf.dtype == np.float64
    assert (problem.samples, problem.inputs, problem.outputs) == (2, 2, 1)
    assert repr(problem) == "Problem(2 samples, 2 inputs, 1 outputs, loss=losses.square, 1 test samples)"


def test_a_jax_array_is_taken_too():
    np.testing.assert_array_equal(mf.Problem(jnp.eye(2), jnp.ones(2)).x, np.eye(2))


def test_equal_problems_have_equal_descriptions_and_others_not():
    first = describe(numbered(5))
    assert first == describe(numbered(5))
    others = [
        numbered(6),
        mf.Problem(numbered(5).x + EPS, numbered(5).y),
        mf.Problem(numbered(5).x, numbered(5).y, loss=mf.losses.huber),
        mf.Problem(numbered(5).x, numbered(5).y, x_test=np.ones((1, 1))),
    ]
    assert len({str(describe(p)) for p in others} | {str(first)}) == 5


def draw(key, size):
    key_x, key_y = jax.random.split(key)
    return jax.random.normal(key_x, (size, 2)), jax.random.normal(key_y, (size,))


def test_a_stream_shows_fresh_samples_at_every_step_and_keeps_one_draw_apart():
    stream = mf.Stream(draw, 4)
    with double():
        seen = [np.asarray(stream.batch(step)[0]) for step in range(6)]
        again = np.asarray(stream.batch(2)[0])
    np.testing.assert_array_equal(seen[2], again)
    values = np.concatenate([stream.x, *seen]).ravel()
    assert len(set(values)) == values.size
    assert stream.samples == 4 and stream.y.shape == (4, 1)


def test_a_streams_samples_follow_the_law_it_draws_from(key):
    """Kolmogorov–Smirnov on 4000 normals, false alarms 1e-6."""
    stream = mf.Stream(draw, 40, batch_key=key)
    with double():
        x = np.asarray(jax.jit(jax.vmap(lambda s: stream.batch(s)[0]))(jnp.arange(50)))
    assert scipy.stats.kstest(x.ravel(), "norm").pvalue > 1e-6


def test_a_streams_samples_depend_on_its_own_key():
    with double():
        first, second = (np.asarray(mf.Stream(draw, 4, batch_key=k).batch(0)[0]) for k in (0, 1))
    assert (first != second).all()


def test_a_batch_of_a_stream_weighs_one_and_has_columns_of_targets():
    with double():
        x, y, weight = jax.tree.map(np.asarray, mf.Stream(draw, 4).batch(0))
    assert y.shape == (4, 1) and x.dtype == y.dtype == weight.dtype == np.float64
    assert weight.sum() == 1


def labels(key, size):
    return jax.random.normal(key, (size, 2)), jnp.arange(size) % 3


def test_integer_labels_of_a_stream_become_one_hot_rows():
    stream = mf.Stream(labels, 6, mf.losses.softmax)
    with double():
        y = np.asarray(stream.batch(0)[1])
    np.testing.assert_array_equal(y, np.eye(3)[np.arange(6) % 3])
    np.testing.assert_array_equal(stream.y, y)


def test_streams_are_described_by_what_they_draw():
    def same(key, size):
        first, second = jax.random.split(key)
        return jax.random.normal(first, (size, 2)), jax.random.normal(second, (size,))

    first = describe(mf.Stream(draw, 4))
    assert first == describe(mf.Stream(same, 4))
    others = [mf.Stream(draw, 5), mf.Stream(draw, 4, batch_key=1), mf.Stream(draw, 4, mf.losses.huber)]
    others.append(mf.Stream(lambda key, size: (2 * draw(key, size)[0], draw(key, size)[1]), 4))
    assert all(describe(other) != first for other in others)
    with double():
        assert describe(mf.Stream(draw, 4)) == first
    assert repr(mf.Stream(draw, 4)) == "Stream(4 samples a step, 2 inputs, loss=losses.square)"


def test_weights_of_one_batch_do_not_see_the_callers_precision():
    for context in (double(), jax.enable_x64(False)):
        with context:
            assert np.asarray(numbered(6).batch(0, 2, 0)[2]).tolist() == [0.5, 0.5]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_astype_casts_every_array(dtype):
    with double():
        for problem in (numbered(5), mf.Stream(draw, 4, x_test=np.eye(2), y_test=np.ones(2))):
            cast = problem.astype(dtype)
            assert cast.x.dtype == cast.y.dtype == cast.batch(0)[0].dtype == dtype
            assert cast.batch(0)[2].dtype == dtype
            assert cast.x_test is None or cast.x_test.dtype == cast.y_test.dtype == dtype
