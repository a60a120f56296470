"""The phase diagram: what is drawn is the data."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from drawn_studies import sentence
from matplotlib.colors import to_rgb
from meanfield.experiments import order_chaos

import meanfield as mf
from meanfield.plot.colours import luminance

WEIGHT, BIAS = np.array([0.5, 1.0, 1.5, 2.0]), np.array([0.1, 0.3, 0.5])


@pytest.fixture
def diagram():
    chi = np.exp((WEIGHT[:, None] - 1.5) / 10 + 0 * BIAS)  # 1 at weight variance 1.5
    line = {
        "critical_weight_variance": ("point", [1.5, 1.5]),
        "critical_bias_variance": ("point", [0.0, 0.6]),
    }
    return xr.Dataset(
        {"susceptibility": (("weight_variance", "bias_variance"), chi), **line},
        {"weight_variance": WEIGHT, "bias_variance": BIAS},
    )


def test_layers_per_factor_and_the_line_are_drawn_where_they_are(diagram):
    drawn = mf.plot.phase_diagram(diagram, longest=50)
    shown = drawn["scale"].get_array()
    np.testing.assert_allclose(shown[:, [0, 1, 3]], np.tile([10, 20, 20], (3, 1)), rtol=1e-12)
    np.testing.assert_array_equal(shown[:, 2], 50)  # infinitely many at the line
    np.testing.assert_allclose(drawn["scale"].get_extent(), [0.25, 2.25, 0, 0.6], atol=1e-15)
    np.testing.assert_array_equal(drawn["critical line"].get_xdata(), [1.5, 1.5])
    assert to_rgb(drawn["critical line"].get_color()) == (0, 0, 0)
    assert drawn.ax.get_xlim() == (0.25, 2.25)
    dark = drawn["scale"].get_cmap()(1.0)
    assert luminance(dark) > 0.1  # the line is seen on it
    assert drawn["ordered"].get_position()[0] < drawn["chaotic"].get_position()[0]


def test_it_is_drawn_on_given_axes_from_a_computed_diagram():
    figure, ax = plt.subplots()
    drawn = mf.plot.phase_diagram(order_chaos.diagram(mf.activations.erf, (3.0, 0.4), 12), ax)
    assert drawn.ax is ax and drawn.figure is figure


def test_what_is_missing_is_named(diagram):
    with pytest.raises(ValueError) as error:
        mf.plot.phase_diagram(diagram.drop_vars("critical_bias_variance"))
    assert sentence(error) and "critical_bias_variance (point)" in str(error.value)
    with pytest.raises(ValueError) as error:
        mf.plot.phase_diagram(diagram.transpose("bias_variance", ...))
    assert "susceptibility (weight_variance, bias_variance)" in str(error.value)
