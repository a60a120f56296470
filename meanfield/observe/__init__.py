"""Observables: what `simulate(..., observe=...)` and studies look at besides predictions.

The names are imported on first use: `import meanfield.observe` does not import JAX.
"""

import importlib

_NAMES = {
    "Alignment": "alignment",
    "AngularDistribution": "angular_distribution",
    "Displacement": "displacement",
    "FeatureKernel": "feature_kernel",
    "FeatureMovement": "feature_movement",
    "GradientKernel": "gradient_kernel",
    "Histogram": "histogram",
    "Independence": "independence",
    "Kernel": "kernel",
    "LayerKernels": "layer_kernels",
    "Moments": "moments",
    "Neurons": "neurons",
    "Observable": "observable",
    "Preactivations": "preactivations",
    "TestFunction": "neuron_function",
    "TwoTimeKernel": "two_time_kernel",
}


def __getattr__(name):
    if name not in _NAMES:
        raise AttributeError(f"module 'meanfield.observe' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"meanfield.observe.{_NAMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *_NAMES})
