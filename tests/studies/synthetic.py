"""Made-up networks and limits whose fluctuation and bias are known, as the datasets that `compare` takes."""

import numpy as np
import xarray as xr

from meanfield.model.system import Law

LAWS = (Law("fluctuation", "width", -0.5, "made up"), Law("bias", "width", -1.0, "made up"))
WIDTHS = (16, 32, 64, 128, 256, 512, 1024)
DIMS = ("width", "seed", "step", "sample", "output")


def networks(
    rng, *, widths=WIDTHS, seeds=12, steps=3, samples=4, spread=1.0, bias=0.0, rates=(-0.5, -1.0),
    control=False, limit_error=0.0, claimed=None, shift=0.0,
):  # fmt: skip
    """(finite, limit): f_n = f + spread·n^{rates[0]}·g + bias·n^{rates[1]}, g standard normal, independent.

    With `control` the first-order deviation from the true limit is known, and network − control − f is left,
    bias·n^{rates[1]}·(1 + g'/2); as in a study it is moved by what the limit given is off the true one.
    That is off by a Gaussian of `limit_error` and by `shift`, and states the standard error `claimed`.
    """
    shape = (len(widths), seeds, steps, samples, 1)
    truth = rng.standard_normal(shape[2:])
    n = np.array(widths, float).reshape(-1, 1, 1, 1, 1)
    first = spread * n ** rates[0] * rng.standard_normal(shape)
    second = bias * n ** rates[1] * (1 + (0.5 * rng.standard_normal(shape) if control else 0.0))
    coords = {"width": list(widths), "step": np.arange(steps)}
    finite = xr.Dataset({"prediction": (DIMS, truth + first + second)}, coords)
    error = limit_error * rng.standard_normal(truth.shape)
    reference = truth + error + shift
    if control:
        finite["prediction_control"] = (DIMS, first - error)
    finite["first_bad_step"] = (DIMS[:2], np.full(shape[:2], -1))
    stated = np.full(truth.shape, limit_error if claimed is None else claimed)
    variables = {"prediction": (DIMS[2:], reference), "prediction_error": (DIMS[2:], stated)}
    return finite, xr.Dataset({**variables, "first_bad_step": ((), -1)}, {"step": np.arange(steps)})


def fitted(fit, kind, quantity="prediction"):
    """(exponent, its standard error, verdict, advice) of one row."""
    at = fit.sel(quantity=quantity, kind=kind)
    return float(at["exponent"]), float(at["exponent_error"]), at["verdict"].item(), at["advice"].item()
