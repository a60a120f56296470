"""Kernels of networks at infinite width. The names below are imported on first use."""

import importlib

_NAMES = {
    "Bayes": "predict",
    "ConjugateGradients": "predict",
    "Kernel": "kernel",
    "Phase": "correlation",
    "correlation_map": "correlation",
    "critical_line": "correlation",
    "empirical": "empirical",
    "kernel_units": "predict",
    "mlp": "perceptron",
    "phase": "correlation",
    "predict": "predict",
    "resmlp": "residual",
    "spectrum": "empirical",
}


def __getattr__(name):
    if name not in _NAMES:
        raise AttributeError(f"module 'meanfield.kernels' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"meanfield.kernels.{_NAMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *_NAMES})
