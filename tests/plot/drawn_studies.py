"""Studies with known numbers, made without training: f_n = f + b/n + s g/√n, g normal per network."""

import numpy as np
import xarray as xr

import meanfield as mf
from meanfield.model.system import Law

LAWS = (Law("fluctuation", "width", -0.5, "none"), Law("bias", "width", -1.0, "none"))


def made_study(
    widths=(32, 64, 128, 256),
    seeds=12,
    *,
    spread=0.5,
    bias=2.0,
    error=1e-4,
    control=0.9,
    response=False,
    key=0,
):
    """The tree that `meanfield.study` would return; `control` is the share of the fluctuation it explains."""
    random = np.random.default_rng(key)
    steps = np.arange(0, 41)
    shape = (len(steps), 3, 2)
    f = 1 - np.exp(-steps / 8)[:, None, None] * np.array([0.5, 0.8, 1.1])[:, None] * np.array([1, -1])
    noise = random.standard_normal((len(widths), seeds, 1, 3, 2)) * np.ones((len(steps), 1, 1))
    n = np.array(widths, float).reshape(-1, 1, 1, 1, 1)
    fluctuation = spread * noise / np.sqrt(n)
    f_n = f + bias / n + fluctuation
    name = {"long_name": "network output f(x)", "units": "1"}
    coords = {"step": steps, "time": ("step", 0.1 * steps, {"long_name": "training time", "units": "1"})}
    axes = ("step", "sample", "output")
    finite = {"prediction": (("width", "seed", *axes), f_n, name)}
    if control:
        finite["prediction_control"] = (("width", "seed", *axes), control * fluctuation)
    loss = {"long_name": "training loss R", "units": "1"}
    finite["loss"] = (("width", "seed", "step"), 0.5 * ((f_n - 1) ** 2).mean((3, 4)), loss)
    finite["first_bad_step"] = (("width", "seed"), np.full((len(widths), seeds), -1))
    limit = {
        "prediction": (axes, f, name),
        "prediction_error": (axes, np.full(shape, error)),
        "loss": ("step", 0.5 * ((f - 1) ** 2).mean((1, 2)), loss),
        "loss_error": ("step", np.full(len(steps), error)),
        "first_bad_step": ((), -1),
    }
    finite = xr.Dataset(finite, coords={"width": list(widths), "seed": np.arange(seeds), **coords})
    limit = xr.Dataset(limit, coords=coords)
    groups = {"/finite": finite, "/limit": limit, "/fit": mf.compare(finite, limit, LAWS)}
    if response:
        std = np.full(shape, spread)
        predicted = {"prediction_std": (axes, std), "prediction_std_error": (axes, 0.01 * std)}
        groups["/fluctuation"] = xr.Dataset(predicted, coords=coords)
    return xr.DataTree.from_dict(groups)


def with_fit(study, **values):
    """The same study with other numbers in /fit for the fluctuation of the prediction."""
    fit = study["fit"].to_dataset().copy(deep=True)
    for name, value in values.items():
        at = (
            {"quantity": "prediction", "kind": "fluctuation"}
            if "kind" in fit[name].dims
            else {"quantity": "prediction"}
        )
        fit[name].loc[at] = value
    return xr.DataTree.from_dict({f"/{g}": study[g].to_dataset() for g in study.children} | {"/fit": fit})


def sentence(error):
    """Whether a message is one sentence that ends the way errors do."""
    text = str(error.value)
    return text.startswith("Argument `") and text.endswith(".") and "\n" not in text
