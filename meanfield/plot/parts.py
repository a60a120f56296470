"""The parts of what is drawn: groups of a study, a variable, a step, a sample."""

import numpy as np
import xarray as xr

from meanfield.base.checks import fail, integer

SIZES = ("width", "depth", "embedding")


def groups(study, *names):
    """The groups of a study, as datasets."""
    if not isinstance(study, xr.DataTree):
        raise TypeError(
            f"Argument `study` must be what meanfield.study returns, but is a {type(study).__name__}."
        )
    for name in names:
        if name not in study.children:
            there = ", ".join(f"/{child}" for child in study.children) or "none"
            raise ValueError(f"Argument `study` must have the group /{name}, but its groups are: {there}.")
    return tuple(study[name].dataset for name in names)


def is_study(data):
    return isinstance(data, xr.DataTree) and "finite" in data.children


def run_of(dataset):
    """One run, finite or limit, as a dataset: from a dataset or a group of a study."""
    if is_study(dataset):
        raise TypeError(
            "Argument `dataset` must be one run, but is a whole study: give its group, "
            'study["limit"] or study["finite"].sel(width=...).'
        )
    if isinstance(dataset, xr.DataTree):
        dataset = dataset.dataset
    if not isinstance(dataset, xr.Dataset):
        came = type(dataset).__name__
        raise TypeError(f"Argument `dataset` must be what meanfield.simulate returns, but is a {came}.")
    for size in SIZES:
        if size in dataset.dims:
            raise ValueError(
                f"Argument `dataset` must hold one {size}, but has {dataset.sizes[size]}: choose one with "
                f".sel({size}=...)."
            )
    return dataset


def size_of(finite):
    """The dimension of sizes of /finite."""
    found = [d for d in finite.dims if d in SIZES]
    if len(found) != 1:
        raise ValueError(f"Argument `study` must vary one size, but varies {' and '.join(found) or 'none'}.")
    return found[0]


def chosen_quantity(quantity, known):
    """A quantity among those known; by default predictions, on the test set where there is one."""
    known = [str(name) for name in known]
    if quantity is None:
        return next((q for q in ("test_prediction", "prediction") if q in known), known[0])
    if quantity not in known:
        fail("quantity", f"one of {', '.join(known)}", quantity)
    return quantity


def chosen_size(name, value, sizes):
    """A size among those of a study; by default the smallest, where there is most to see."""
    sizes = [int(s) for s in sizes]
    if value is None:
        return sizes[0]
    if integer(name, value) not in sizes:
        fail(name, f"one of {', '.join(map(str, sizes))}", value)
    return int(value)


def chosen_step(step, steps):
    """Position of a recorded step; −1 is the last one."""
    steps = [int(s) for s in steps]
    step = integer("step", step)
    if step == -1:
        return len(steps) - 1
    if step not in steps:
        listed = ", ".join(map(str, steps if len(steps) <= 8 else [*steps[:3], "...", steps[-1]]))
        fail("step", f"one of {listed}, or -1 for the last one", step)
    return steps.index(step)


def chosen_index(name, value, count):
    """A position along samples or outputs."""
    return integer(name, value, 0, count - 1)


def survivors(run, values):
    """Seeds that never diverged, (R', ...), or all if every one did; the first axis counts seeds."""
    if "first_bad_step" not in run:
        return values
    good = np.atleast_1d(run["first_bad_step"].values) < 0
    return values[good] if good.any() else values


def mean_and_error(values):
    """Mean over the first axis and its standard error; one network has none."""
    values = values.astype(float)
    mean = values.mean(0)
    if values.shape[0] < 2:
        return mean, np.full_like(mean, np.nan)
    return mean, values.std(0, ddof=1) / np.sqrt(values.shape[0])
