"""Preactivations as coordinates: the same training to rounding, and only where they stay closed."""

import numpy as np
import pytest

import meanfield as mf
from meanfield.systems.two_layer.preactivations import Preactivations

STEPS = 40


def problem_of(samples, test_samples, inputs, outputs=1):
    rng = np.random.default_rng(samples)
    x, x_test = rng.standard_normal((samples, inputs)), rng.standard_normal((test_samples, inputs))
    y = rng.standard_normal((samples, outputs))
    y_test = rng.standard_normal((test_samples, outputs))
    return mf.Problem(x, y, x_test=x_test, y_test=y_test) if test_samples else mf.Problem(x, y)


def falling(step):
    return 0.2 / (1.0 + 0.01 * step)


CASES = {
    "plain": (mf.TwoLayer(mf.activations.tanh), mf.GradientDescent(0.2, STEPS), (4, 3, 6, 1)),
    "bias, momentum, decay": (
        mf.TwoLayer(mf.activations.erf, bias=True, initial=mf.initial.Gaussian(bias=0.5)),
        mf.GradientDescent(0.1, STEPS, momentum=0.7, weight_decay=0.1),
        (4, 3, 6, 1),
    ),
    "two outputs, richness, schedule": (
        mf.TwoLayer(mf.activations.softplus, richness=2.0),
        mf.GradientDescent(falling, STEPS),
        (5, 0, 4, 2),
    ),
    "fixed readout, relu": (
        mf.TwoLayer(mf.activations.relu, bias=True, train_readout=False),
        mf.GradientDescent(0.2, STEPS, batch_size=6),
        (6, 0, 3, 1),
    ),
}


def planned(system, problem, training, looks=False, memory=4e9):
    return system.plan(problem, training, 3, memory, looks)[0].particles


def case(name, memory):
    """One case always runs, and one more in chunks."""
    return pytest.param(
        name, memory, marks=() if name == "two outputs, richness, schedule" else pytest.mark.slow
    )


@pytest.mark.parametrize(
    ("name", "memory"),
    [*(case(name, 4e9) for name in CASES), ("bias, momentum, decay", 1e6)],
    ids=[*CASES, "in chunks"],
)
def test_same_training(name, memory):
    """Both are the same polynomial operations in another order: the difference is rounding, which T steps
    with a Lipschitz constant of about 1 + η·10 let grow by a factor well below 10^3 here."""
    model, training, (samples, test_samples, inputs, outputs) = CASES[name]
    problem = problem_of(samples, test_samples, inputs, outputs)
    widths = (48, 3000) if memory < 4e9 else (48,)
    systems = [model.finite(width, dtype="float64") for width in widths]
    systems.append(model.limit(2048, 2))
    for system in systems:
        assert isinstance(planned(system, problem, training, memory=memory), Preactivations)
        assert not isinstance(planned(system, problem, training, True, memory), Preactivations)
        seeds = {} if system.is_limit else {"seeds": 3}
        moved = mf.simulate(system, problem, training, memory=memory, **seeds)
        looked = mf.simulate(
            system, problem, training, memory=memory, observe=[mf.observe.Moments(at=[0])], **seeds
        )
        for quantity in ("prediction", "loss") + (("test_prediction",) if test_samples else ()):
            one, other = moved[quantity].values, looked[quantity].values
            scale = np.abs(other).max()
            assert np.abs(one - other).max() <= 1e3 * np.finfo(float).eps * scale, quantity


def test_float32_is_as_close_to_float64_as_the_weights_are():
    """In float32 the rounding of h, seen by one sample only, replaces that of w: neither is the better."""
    model, training, (samples, test_samples, inputs, _) = CASES["plain"]
    problem = problem_of(samples, test_samples, inputs)
    exact = mf.simulate(model.finite(64, dtype="float64"), problem, training, seeds=4).prediction
    moved = mf.simulate(model.finite(64), problem, training, seeds=4).prediction
    looks = [mf.observe.Moments(at=[0])]
    looked = mf.simulate(model.finite(64), problem, training, seeds=4, observe=looks).prediction
    off = [float(np.sqrt(np.mean((result.values - exact.values) ** 2))) for result in (moved, looked)]
    assert 0 < off[0] < 4 * off[1]
    assert max(off) < 64 * np.finfo(np.float32).eps * float(np.abs(exact).max())


@pytest.mark.parametrize(
    ("training", "size"),
    [
        (mf.Langevin(0.1, 5, temperature=0.1), (4, 3, 6)),
        (mf.GradientFlow(1.0, save=3), (4, 3, 6)),
        (mf.GradientDescent(0.1, 5, batch_size=2), (4, 3, 6)),
        (mf.GradientDescent(0.1, 5), (10, 3, 6)),
    ],
    ids=["noise", "flow", "mini-batches", "more samples than twice the inputs"],
)
def test_where_they_do_not_close_or_do_not_pay(training, size):
    model = mf.TwoLayer(mf.activations.tanh)
    assert not isinstance(planned(model.finite(16), problem_of(*size), training), Preactivations)
