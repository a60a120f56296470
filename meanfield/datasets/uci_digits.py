"""The handwritten digits of the UCI repository, 8×8 pixels, shipped with the package."""

import functools
import hashlib
import importlib.resources

import numpy as np

from meanfield.base.errors import ComputationError
from meanfield.datasets.images import image_problem


def content_digest(images, labels):
    """SHA-256 of the pixels, then the labels, as unsigned bytes in C order."""
    images, labels = np.ascontiguousarray(images, np.uint8), np.ascontiguousarray(labels, np.uint8)
    return hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()


@functools.cache
def load():
    """Images (1797, 8, 8), 0 to 16, and labels (1797,), 0 to 9, as unsigned bytes, read-only."""
    import xarray as xr

    with importlib.resources.as_file(importlib.resources.files("meanfield.data") / "digits.nc") as path:
        with xr.open_dataset(path, engine="h5netcdf") as data:
            images, labels, expected = data["image"].values, data["label"].values, data.attrs["sha256"]
    found = content_digest(images, labels)
    if found != expected:
        raise ComputationError(
            f"The file digits.nc is damaged: its content has SHA-256 {found[:12]}…, but should have "
            f"{expected[:12]}…; install meanfield anew."
        )
    images.flags.writeable = labels.flags.writeable = False
    return images, labels


def digits(
    classes=(3, 8),
    samples=64,
    test_samples=200,
    *,
    loss=None,
    centred=True,
    squared_norm=1.0,
    key=0,
):
    """Handwritten digits: x = s · (pixels − mean), s such that mean |x|² = 1 over the training samples.

    1797 images of 8×8 pixels, 174 to 183 of each digit, in the package (`data/digits.nc`). The mean, one
    number a pixel, and s, one number, are those of the training samples; the test samples are shifted and
    scaled by the same numbers, so nothing of them leaks into training. Samples are drawn without replacement,
    the classes as equal in number as possible (within one, while there are enough images), training and test
    set disjoint; the training set does not depend on `test_samples`.

    Args:
        classes: two or more distinct digits; None is all ten.
        samples, test_samples: P, at least 2, and P'; no test set for 0.
        loss: by default square.
        centred: whether the mean image is subtracted.
        squared_norm: mean |x|² over the training samples, by default 1, for networks in which nothing divides
            w·x; 64 (= d) where the input layer carries 1/√d.
        key: integer that determines which samples are drawn.
    Returns:
        `Problem` with x (P, 64) and, for two classes, y (P, 1), −1 for the first and +1 for the second; for
        k > 2 classes, in the order given, one-hot rows (P, k) of 0 and 1, under the logistic and the
        exponential loss of −1 and +1. The softmax loss has one-hot rows for any number of classes.
    Raises:
        TypeError, ValueError: for classes that are not distinct digits, for sizes or a key that are not
            integers in range, for more samples than there are images, for a squared norm not above 0.
        RuntimeError: if the data file is damaged.
    Source: Alpaydin, Kaynak 1998, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository,
        test set, doi:10.24432/C50P49, licence CC BY 4.0.

    >>> problem = digits(classes=(3, 8), samples=10, test_samples=4)
    >>> problem.x.shape, problem.y.shape, problem.x_test.shape
    ((10, 64), (10, 1), (4, 64))
    """
    return image_problem(
        "digits", *load(), classes, samples, test_samples,
        loss=loss, centred=centred, squared_norm=squared_norm, key=key,
    )  # fmt: skip
