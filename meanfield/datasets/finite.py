"""From a law to a `Problem`: the sizes, the targets a loss takes, the training and the test set."""

import dataclasses

import numpy as np

from meanfield.base.checks import instance, integer
from meanfield.datasets.sources import NumpySource, tag


def check_sizes(samples, test_samples, key, least=1):
    """Training samples, test samples (0: no test set) and the key, as integers."""
    return (
        integer("samples", samples, least),
        integer("test_samples", test_samples, 0),
        integer("key", key, 0),
    )


def resolve_loss(loss):
    """The loss that was given, or the square loss."""
    from meanfield.model.loss import Loss, square

    return square if loss is None else instance("loss", loss, Loss, "one of meanfield.losses")


def class_targets(index, classes, loss):
    """Targets of class numbers 0, …, classes − 1 in the form that the loss takes.

    softmax: one-hot rows; two classes under any other loss: −1 and +1, (P, 1); more classes: one-hot rows of
    0 and 1, under the logistic and the exponential loss of −1 and +1 (each class against the rest).
    """
    from meanfield.model.loss import Exponential, Logistic, Softmax

    one_hot = np.eye(classes)[index]  # (P, classes)
    if isinstance(loss, Softmax):
        return one_hot
    if classes == 2:
        return 2.0 * index[:, None] - 1.0
    return 2.0 * one_hot - 1.0 if isinstance(loss, Logistic | Exponential) else one_hot


def finite_problem(name, law, samples, test_samples, *, loss, key, labels=False):
    """Independent training and test samples of a law.

    Args:
        name: what the random numbers are named after; the same name and key give the same samples.
        law: its `sample(source, size)` gives x (size, d) and y (size, 1). A field `noise` of the law is
            set to zero for the test set.
        labels: whether y are labels ±1, which the softmax loss takes as two classes.
    """
    from meanfield.base.precision import double
    from meanfield.model.problem import Problem

    samples, test_samples, key = check_sizes(samples, test_samples, key)
    loss = resolve_loss(loss)

    def drawn(law, part, size):
        with double():
            x, y = law.sample(NumpySource((tag(name), key, part)), size)
            x, y = np.asarray(x), np.asarray(y)
        return x, class_targets((y[:, 0] > 0).astype(int), 2, loss) if labels else y

    x, y = drawn(law, 0, samples)
    if test_samples == 0:
        return Problem(x, y, loss=loss)
    exact = dataclasses.replace(law, noise=0.0) if hasattr(law, "noise") else law
    x_test, y_test = drawn(exact, 1, test_samples)
    return Problem(x, y, loss=loss, x_test=x_test, y_test=y_test)
