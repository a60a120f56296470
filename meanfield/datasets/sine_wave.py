"""Regression on a sine in one dimension."""

import math

import numpy as np

from meanfield.base.checks import array, fail, number
from meanfield.datasets.finite import check_sizes, resolve_loss
from meanfield.datasets.sources import NumpySource, tag


def sine(
    samples=16,
    test_samples=101,
    *,
    frequency=1.0,
    noise=0.0,
    interval=(-math.pi, math.pi),
    loss=None,
    key=0,
):
    """y = sin(ωx) + noise; training inputs uniform on [low, high], test inputs on an even grid, ends and all.

    A ReLU network needs a bias here: without one it is linear on each side of 0.

    Args:
        samples, test_samples: P and P'; no test set for 0, the interval's lower end alone for 1.
        frequency: ω, radians per unit of x.
        noise: standard deviation of the Gaussian noise on the training targets; the test targets have none.
        interval: (low, high).
        loss: by default square.
        key: integer that determines the training inputs and the noise.
    Returns:
        `Problem` with x (P, 1), y (P, 1), in no order; x_test (P', 1), increasing.
    Raises:
        TypeError, ValueError: for sizes or a key that are not integers in range, an interval that is not two
            increasing numbers, a frequency that is not positive, negative noise.
    """
    from meanfield.model.problem import Problem

    samples, test_samples, key = check_sizes(samples, test_samples, key)
    frequency = number("frequency", frequency, above=0)
    noise = number("noise", noise, least=0)
    bounds = array("interval", interval, (1,), "two increasing numbers")
    if bounds.size != 2 or not bounds[0] < bounds[1]:
        fail("interval", "two increasing numbers", interval)
    low, high = bounds
    loss = resolve_loss(loss)
    source = NumpySource((tag("sine"), key))
    x = low + (high - low) * source.uniform("x", (samples, 1))
    y = np.sin(frequency * x) + noise * source.normal("noise", (samples, 1))
    if test_samples == 0:
        return Problem(x, y, loss=loss)
    x_test = np.linspace(low, high, test_samples)[:, None]
    return Problem(x, y, loss=loss, x_test=x_test, y_test=np.sin(frequency * x_test))
