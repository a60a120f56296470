"""From labelled images to a `Problem`: the classes, a balanced split, centring and scaling."""

import numpy as np

from meanfield.base.checks import boolean, fail, is_integer, number
from meanfield.datasets.finite import check_sizes, class_targets, resolve_loss
from meanfield.datasets.sources import tag


def check_classes(classes):
    """Two or more distinct digits as a tuple, in the order given; None is all ten."""
    rule = "at least two distinct digits from 0 to 9"
    if classes is None:
        return tuple(range(10))
    if isinstance(classes, str | bytes) or not hasattr(classes, "__iter__"):
        fail("classes", rule, classes, TypeError)
    classes = tuple(classes)
    if not all(is_integer(c) for c in classes):
        fail("classes", rule, classes, TypeError)
    if len(classes) < 2 or len(set(classes)) < len(classes) or not all(0 <= c <= 9 for c in classes):
        fail("classes", rule, classes)
    return tuple(int(c) for c in classes)


def balanced(available, total):
    """Numbers of samples per class that add up to `total`, as equal as `available` (classes,) permits."""
    taken = np.zeros_like(available)
    while taken.sum() < total:
        open_classes = np.flatnonzero(taken < available)
        taken[open_classes[: total - taken.sum()]] += 1
    return taken


def image_problem(name, images, labels, classes, samples, test_samples, *, loss, centred, squared_norm, key):
    """Training and test samples of the given classes of labelled images.

    Args:
        name: what the split is named after; the same name and key give the same split.
        images, labels: pixels (N, …) and digits (N,).
    The other arguments are those of `digits`.
    """
    from meanfield.model.problem import Problem

    classes = check_classes(classes)
    centred = boolean("centred", centred)
    squared_norm = number("squared_norm", squared_norm, above=0)
    # One image centred on its own mean is zero and has no scale.
    samples, test_samples, key = check_sizes(samples, test_samples, key, least=2 if centred else 1)
    loss = resolve_loss(loss)
    rows_of_class = [np.flatnonzero(labels == c) for c in classes]
    available = np.array([rows.size for rows in rows_of_class])
    if samples + test_samples > available.sum():
        names = ", ".join(str(c) for c in classes)
        raise ValueError(
            f"Arguments `samples` and `test_samples` must add up to at most {available.sum()}, the number of "
            f"images of the digits {names}, but are {samples} and {test_samples}."
        )
    # Positions of all chosen classes in one random order; each class gives its first ones to the training set
    # and its next ones to the test set, so the training set does not depend on the size of the test set.
    rng = np.random.default_rng([tag(name), key])
    index = np.concatenate([np.full(rows.size, c) for c, rows in enumerate(rows_of_class)])
    order = rng.permutation(index.size)
    rows, index = np.concatenate(rows_of_class)[order], index[order]
    in_train = balanced(available, samples)
    in_test = balanced(available - in_train, test_samples)
    rank = np.empty_like(index)  # how many of its class come before a sample
    for c in range(len(classes)):
        rank[index == c] = np.arange(available[c])
    train = rank < in_train[index]
    test = ~train & (rank < (in_train + in_test)[index])

    pixels = images[rows].reshape(rows.size, -1).astype(np.float64)
    if centred:
        pixels = pixels - pixels[train].mean(0)
    pixels = pixels * np.sqrt(squared_norm / (pixels[train] ** 2).sum(1).mean())
    y = class_targets(index, len(classes), loss)
    if test_samples == 0:
        return Problem(pixels[train], y[train], loss=loss)
    return Problem(pixels[train], y[train], loss=loss, x_test=pixels[test], y_test=y[test])
