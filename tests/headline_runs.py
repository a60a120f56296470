"""The parts of the library at small size, for one device against another: headline_runs.py FILE [NAME ...].

Each function gives {name: array} of numbers that do not depend on the device beyond rounding, except
`by_law`: there directions come from an eigenvalue problem, whose signs are free, and with them the draws.
"""

import sys

import numpy as np

import meanfield as mf
from meanfield.numerics import transport

RNG = np.random.default_rng(0)
X = RNG.standard_normal((12, 3))
PROBLEM = mf.Problem(X, np.sin(X[:, 0]), x_test=RNG.standard_normal((5, 3)))
TRAINING = mf.GradientDescent(0.3, 10, momentum=0.5)
MLP = mf.MLP(2, mf.activations.tanh, mf.parametrizations.mup)


def two_layer():
    model = mf.TwoLayer(mf.activations.tanh, bias=True)
    runs = {
        f"networks {dtype}": mf.simulate(model.finite(300, dtype=dtype), PROBLEM, TRAINING, seeds=3)
        for dtype in ("float32", "float64")
    }
    runs["limit"] = mf.simulate(model.limit(512, 2), PROBLEM, TRAINING)
    return {name: run.test_prediction.values for name, run in runs.items()}


def fluctuation():
    model, training = mf.TwoLayer(mf.activations.tanh), mf.GradientDescent(0.3, 10)
    gap = mf.fluctuation(model, PROBLEM, training, particles=256)
    return {name: gap[name].values for name in ("prediction_std", "prediction_bias")}


def flow():
    flowing = mf.GradientFlow(2.0, save=11)
    run = mf.simulate(mf.TwoLayer(mf.activations.erf).finite(200, dtype="float64"), PROBLEM, flowing)
    return {"flow": run.prediction.values}


def mlp():
    return {
        dtype: mf.simulate(MLP.finite(200, dtype=dtype), PROBLEM, TRAINING, seeds=2).test_prediction.values
        for dtype in ("float32", "float64")
    }


def affine_limit():
    """The limit of a deep linear network, exact at every number of particles."""
    linear = mf.MLP(2, mf.activations.identity, mf.parametrizations.mup)
    return {"limit": mf.simulate(linear.limit(256, 2), PROBLEM, TRAINING).prediction.values}


def kernels():
    values = {}
    for name in ("relu", "erf", "tanh"):
        for dtype in ("float32", "float64"):
            options = {"hidden_layers": 3, "activation": getattr(mf.activations, name)}
            kernel = mf.kernels.mlp(X.astype(dtype), **options)
            values |= {f"{name} nngp {dtype}": kernel.nngp, f"{name} ntk {dtype}": kernel.ntk}
    return {name: np.asarray(value) for name, value in values.items()}


def law():
    lazy = mf.MLP(2, mf.activations.relu, mf.parametrizations.ntk)
    run = mf.simulate(lazy.limit(), PROBLEM, TRAINING)
    return {"mean": run.prediction.values}


def distances():
    one, other = np.random.default_rng(1).standard_normal((2, 100, 3))
    return {"sinkhorn": np.asarray(transport.sinkhorn(one, other).divergence)}


def by_law():
    """Means and their standard errors where runs on two devices are two draws."""
    limit = mf.simulate(MLP.limit(2048, 8), PROBLEM, TRAINING)
    free = mf.simulate(MLP.finite(300, sampler=mf.MatrixFree()), PROBLEM, TRAINING, seeds=24)
    each = free.prediction.values[:, -1]
    return {
        "limit": limit.prediction.values[-1],
        "limit error": limit.prediction_error.values[-1],
        "matrix-free": each.mean(0),
        "matrix-free error": each.std(0, ddof=1) / np.sqrt(len(each)),
    }


EXACT = (two_layer, fluctuation, flow, mlp, affine_limit, kernels, law, distances)

if __name__ == "__main__":
    chosen = [globals()[name] for name in sys.argv[2:]]
    arrays = {f"{run.__name__}: {name}": value for run in chosen for name, value in run().items()}
    np.savez(sys.argv[1], **arrays)
