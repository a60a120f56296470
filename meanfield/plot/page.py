"""A study on one strip of a page."""

import matplotlib.pyplot as plt

from meanfield.plot.canvas import PAGE, fix_ticks, paper
from meanfield.plot.curves import training_curves
from meanfield.plot.distances import convergence
from meanfield.plot.outputs import predictions
from meanfield.plot.parts import groups
from meanfield.plot.ratios import spread_ratio
from meanfield.studies.report import spread_ratios


def summary(study):
    """Convergence, training curves, and the spread over its prediction or, without a response, networks.

    Args:
        study: the tree that `meanfield.study` returns.
    Returns:
        matplotlib Figure, two columns wide.
    """
    fit, finite, _ = groups(study, "fit", "finite", "limit")
    quantity = "test_loss" if "test_loss" in finite else "loss"
    with paper():
        figure, axes = plt.subplots(1, 3, figsize=PAGE, layout="constrained", width_ratios=(1.15, 1, 1))
        try:
            for ax in axes:
                fix_ticks(ax)
            convergence(study, ax=axes[0])
            training_curves(study, quantity, ax=axes[1])
            if any(spread_ratios(study).values()):
                spread_ratio(study, ax=axes[2])
            else:
                predictions(study, ax=axes[2])
        except BaseException:
            plt.close(figure)
            raise
    return figure
