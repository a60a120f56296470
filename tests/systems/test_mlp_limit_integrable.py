"""The integrable parametrization as n → ∞: two layers train, three with a large first step.  THEORY 3."""

import numpy as np
import pytest
from assertions import assert_one_sentence

import meanfield as mf
from meanfield.model.parametrization import integrable, mup, ntk
from meanfield.systems.mlp.descent import is_large_first_step

RELU = mf.activations.relu


def task():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 5))
    return mf.Problem(x, np.sign(x[:, 0]))


def first_large(step):
    """A first step whose update exceeds what was there, then short ones."""
    return 0.3 + 9.7 * (step == 0)


def distances(model, training, widths, particles):
    """Relative root mean square distance of networks to the limit over steps 1 …, for each width."""
    limit = mf.simulate(model.limit(particles, 4), task(), training).prediction[1:]
    size = float(np.sqrt((limit**2).mean()))
    found = []
    for width in widths:
        networks = mf.simulate(model.finite(width), task(), training, seeds=4).prediction[:, 1:]
        found.append(float(np.sqrt(((networks - limit) ** 2).mean())) / size)
    return found


def test_the_large_first_step_is_recognised_by_what_matters():
    """Layer by layer (a, b, c) → (a + θ, b − θ, c − 2θ) is the same training."""
    for layers in (2, 3, 4):
        large = integrable.with_large_first_step(layers)
        assert is_large_first_step(large, layers)
        assert is_large_first_step(large.shift(0.5), layers)
    for other in (integrable, mup, ntk):
        assert not is_large_first_step(other, 3)


@pytest.mark.slow
def test_networks_with_a_large_first_step_approach_the_limit():
    """L = 3, relu. At the first step all that remains of the initial matrices is n^{−1/2}: distances fall at
    least like n^{−0.35} from 256 to 4096 and end below 0.3. Without forgetting they would not fall."""
    model = mf.MLP(3, RELU, integrable.with_large_first_step(3))
    training = mf.GradientDescent(first_large, 4)
    first, second, third = distances(model, training, (256, 1024, 4096), 1024)
    assert third < 0.3 and third < first * 16**-0.35, (first, second, third)
    kept = mf.MLP(3, RELU, mup)
    limit = mf.simulate(kept.limit(1024, 4), task(), training).prediction[1:]
    networks = mf.simulate(model.finite(4096), task(), training, seeds=4).prediction[:, 1:]
    off = float(np.sqrt(((networks - limit) ** 2).mean() / (limit**2).mean()))
    assert off > 2 * third, "the limit of μP itself is another one"


def test_what_has_no_such_limit_gets_one_sentence():
    large = integrable.with_large_first_step(3)
    for model in (
        mf.MLP(3, mf.activations.tanh, large),
        mf.MLP(3, RELU, large, bias_variance=1.0),
    ):
        with pytest.raises(ValueError) as caught:
            model.limit(64)
        assert_one_sentence(str(caught.value), "activation", "homogeneous")
    with pytest.raises(ValueError) as caught:
        mf.MLP(3, RELU, integrable).limit(64)
    assert "trivial" in str(caught.value)
