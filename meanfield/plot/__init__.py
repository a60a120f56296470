"""Figures: every function takes results and `ax`, draws one thing and returns its artists by name.

The names are imported on first use: `import meanfield.plot` does not import matplotlib.
"""

import importlib

# A module never has the name of a function: importing it would put the module where the function stands.
_NAMES = {
    "convergence": "distances",
    "training_curves": "curves",
    "predictions": "outputs",
    "spread_ratio": "ratios",
    "particles": "plane",
    "learned_function": "line",
    "histogram": "density",
    "angular_distribution": "circle",
    "phase_diagram": "phases",
    "summary": "page",
    "save": "files",
}


def __getattr__(name):
    if name not in _NAMES:
        raise AttributeError(f"module 'meanfield.plot' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"meanfield.plot.{_NAMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *_NAMES})
