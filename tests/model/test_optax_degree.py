"""How updates of an optax transform grow with the gradient, which decides on learning rates in the width."""

import jax.numpy as jnp
import optax
import pytest

import meanfield as mf

RISING = optax.linear_schedule(0.0, 0.1, 10)
LINEAR = {
    "sgd": optax.sgd(0.1),
    "momentum": optax.sgd(0.1, momentum=0.9),
    "nesterov": optax.sgd(0.1, momentum=0.9, nesterov=True),
    "decay": optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.1)),
    "a schedule that starts at 0": optax.sgd(RISING),
}
INVARIANT = {
    "adam": optax.adam(0.1),
    "adamw": optax.adamw(0.1, weight_decay=0.1),
    "amsgrad": optax.amsgrad(0.1),
    "rmsprop": optax.rmsprop(0.1),
    "sign": optax.sign_sgd(0.1),
    "lion": optax.lion(0.1),
    "a schedule that starts at 0": optax.adam(RISING),
}
NEITHER = {
    "clipping": optax.chain(optax.clip_by_global_norm(0.1), optax.sgd(0.1)),
    "clipping of entries": optax.chain(optax.clip(1.0), optax.sgd(0.1)),
    "clipping before adam": optax.chain(optax.clip_by_global_norm(0.1), optax.adam(0.1)),
    "a normalised gradient": optax.chain(optax.normalize_by_update_norm(), optax.sgd(0.1)),
    "adagrad, which starts at 0.1": optax.adagrad(0.1),
    "an epsilon as large as gradients": optax.adam(0.1, eps=1.0),
    "a square root": optax.stateless(lambda g, _: {n: jnp.sign(v) * jnp.abs(v) ** 0.5 for n, v in g.items()}),
    "nothing": optax.set_to_zero(),
}


@pytest.mark.parametrize("name", LINEAR)
def test_updates_in_proportion_to_the_gradient_have_degree_one(name):
    assert mf.Optax(LINEAR[name], 5).degree() == 1


@pytest.mark.parametrize("name", INVARIANT)
def test_updates_that_do_not_grow_with_any_entry_have_degree_zero(name):
    assert mf.Optax(INVARIANT[name], 5).degree() == 0


@pytest.mark.parametrize("name", NEITHER)
def test_what_mixes_entries_or_stands_between_has_none(name):
    assert mf.Optax(NEITHER[name], 5).degree() is None
