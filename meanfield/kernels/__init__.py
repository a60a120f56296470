"""Kernels of networks at infinite width. The names below are imported on first use."""

import importlib

_NAMES = {
    "Bayes": "meanfield.kernels.ensemble",
    "ConjugateGradients": "meanfield.numerics.conjugate_gradients",
    "Kernel": "meanfield.kernels.kernel",
    "Phase": "meanfield.kernels.correlation",
    "correlation_map": "meanfield.kernels.correlation",
    "critical_line": "meanfield.kernels.correlation",
    "empirical": "meanfield.kernels.jacobians",
    "kernel_units": "meanfield.kernels.units",
    "mlp": "meanfield.kernels.perceptron",
    "phase": "meanfield.kernels.correlation",
    "predict": "meanfield.kernels.ensemble",
    "resmlp": "meanfield.kernels.residual",
    "spectrum": "meanfield.kernels.jacobians",
}


def __getattr__(name):
    if name not in _NAMES:
        raise AttributeError(f"module 'meanfield.kernels' has no attribute {name!r}")
    value = getattr(importlib.import_module(_NAMES[name]), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *_NAMES})
