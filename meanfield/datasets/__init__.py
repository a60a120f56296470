"""Learning problems: handwritten digits that are here already, and generators whose target is known.

Each function returns a `Problem`; a function that ends in `_draw` returns what a `Stream` draws fresh samples
with. The names are imported on first use: `import meanfield.datasets` imports neither JAX nor a data file.
"""

import importlib

# A module never has the name of a function: importing it would put the module where the function stands.
_NAMES = {
    "digits": "uci_digits",
    "mnist5k": "mnist_subset",
    "sphere_teacher": "spherical_teacher",
    "sphere_teacher_draw": "spherical_teacher",
    "staircase": "hypercube",
    "staircase_draw": "hypercube",
    "parity": "hypercube",
    "parity_draw": "hypercube",
    "xor": "xor_corners",
    "isotropic_gaussians": "gaussian_mixture",
    "isotropic_gaussians_draw": "gaussian_mixture",
    "gaussian_clusters": "gaussian_mixture",
    "gaussian_clusters_draw": "gaussian_mixture",
    "sine": "sine_wave",
}


def __getattr__(name):
    if name not in _NAMES:
        raise AttributeError(f"module 'meanfield.datasets' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"meanfield.datasets.{_NAMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *_NAMES})
