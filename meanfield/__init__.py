"""Neural networks at infinite width, and how far a finite network is from its limit.

The names below are imported on first use, so that `import meanfield` costs nothing.
"""

import importlib

_NAMES = {
    "Problem": "model.problem",
    "Stream": "model.stream",
    "Activation": "model.activation",
    "GradientDescent": "model.gradient_descent",
    "GradientFlow": "model.gradient_flow",
    "Langevin": "model.langevin",
    "NormalizedDescent": "model.normalized_descent",
    "Optax": "model.optax_training",
    "Measure": "model.measure",
    "IID": "model.sampler",
    "Sobol": "model.sampler",
    "Quadrature": "model.sampler",
    "Dense": "programs.samplers",
    "MatrixFree": "programs.samplers",
    "TwoLayer": "systems.two_layer",
    "MLP": "systems.mlp",
    "Parametrization": "model.parametrization",
    "scaling_check": "studies.scaling_check",
    "scaling_report": "studies.scaling_check",
    "simulate": "studies.simulate",
    "stability": "studies.stability",
    "study": "studies.study",
    "width_study": "studies.study",
    "open_study": "studies.study",
    "compare": "studies.compare",
    "report": "studies.report",
    "fluctuation": "studies.response",
    "Response": "studies.response",
}
_MODULES = {
    "activations": "model.activation",
    "losses": "model.loss",
    "parametrizations": "model.parametrization",
    "kernels": "kernels",
    "programs": "programs",
    "initial": "model.initial",
    "observe": "observe",
    "datasets": "datasets",
    "plot": "plot",
}


def __getattr__(name):
    if name in _NAMES:
        value = getattr(importlib.import_module(f"meanfield.{_NAMES[name]}"), name)
    elif name in _MODULES:
        value = importlib.import_module(f"meanfield.{_MODULES[name]}")
    else:
        raise AttributeError(f"module 'meanfield' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__():
    return sorted([*globals(), *_NAMES, *_MODULES])
