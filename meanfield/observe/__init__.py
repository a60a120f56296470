"""Observables: what `simulate(..., observe=...)` and studies look at besides predictions.

The names are imported on first use: `import meanfield.observe` does not import JAX.
"""

import importlib

_NAMES = {
    "AngularDistribution": "angular_distribution",
    "Displacement": "displacement",
    "FeatureKernel": "feature_kernel",
    "FeatureMovement": "feature_movement",
    "Histogram": "histogram",
    "Kernel": "kernel",
    "Moments": "moments",
    "Neurons": "neurons",
    "Observable": "observable",
    "TestFunction": "neuron_function",
}


def __getattr__(name):
    if name not in _NAMES:
        raise AttributeError(f"module 'meanfield.observe' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"meanfield.observe.{_NAMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *_NAMES})
