"""Bad settings of a multilayer perceptron meet one sentence that names the argument."""

import dataclasses

import numpy as np
import pytest
from assertions import assert_refused_in_one_sentence

import meanfield as mf
from meanfield.model.parametrization import integrable, mean_field, mup

MODEL = mf.MLP(2, mf.activations.tanh, mup)


def mlp(hidden_layers=2, activation=mf.activations.tanh, parametrization=mup, **options):
    return mf.MLP(hidden_layers, activation, parametrization, **options)


BAD = {
    "no hidden layer": (lambda: mlp(0), ValueError, "`hidden_layers`", "at least 1", "0"),
    "layers are a float": (lambda: mlp(2.0), TypeError, "`hidden_layers`", "2.0"),
    "layers are a boolean": (lambda: mlp(True), TypeError, "`hidden_layers`", "True"),
    "activation is text": (lambda: mlp(activation="tanh"), TypeError, "`activation`", "'tanh'"),
    "activation is a function": (lambda: mlp(activation=np.tanh), TypeError, "`activation`"),
    "parametrization is text": (
        lambda: mlp(parametrization="mup"),
        *(TypeError, "`parametrization`", "meanfield.parametrizations", "'mup'"),
    ),
    "parametrization of one hidden layer": (
        lambda: mlp(parametrization=mean_field),
        *(ValueError, "`hidden_layers`", "1 hidden layer", "2"),
    ),
    "parametrization of four matrices": (
        lambda: mlp(parametrization=mf.Parametrization((0, 0.5, 0.5, 0.5), (0, 0, 0, 0), 0)),
        *(ValueError, "`hidden_layers`", "3", "2"),
    ),
    "richness is zero": (lambda: mlp(richness=0), ValueError, "`richness`", "above 0"),
    "richness is negative": (lambda: mlp(richness=-1.0), ValueError, "`richness`", "-1.0"),
    "richness is infinite": (lambda: mlp(richness=np.inf), ValueError, "`richness`", "inf"),
    "richness is text": (lambda: mlp(richness="lazy"), TypeError, "`richness`", "'lazy'"),
    "weight_variance is zero": (lambda: mlp(weight_variance=0), ValueError, "`weight_variance`", "above 0"),
    "bias_variance is negative": (
        lambda: mlp(bias_variance=-0.1),
        *(ValueError, "`bias_variance`", "at least 0", "-0.1"),
    ),
    "bias without a variance": (lambda: mlp(bias=True), ValueError, "`bias_variance`", "above 0"),
    "bias is a number": (lambda: mlp(bias=1), TypeError, "`bias`", "True or False"),
    "centred is text": (lambda: mlp(centred="yes"), TypeError, "`centred`", "'yes'"),
    "width is zero": (lambda: MODEL.finite(0), ValueError, "`width`", "at least 1", "0"),
    "width is a float": (lambda: MODEL.finite(64.0), TypeError, "`width`", "64.0"),
    "dtype is half": (lambda: MODEL.finite(4, dtype="float16"), ValueError, "`dtype`", "float32", "float16"),
    "dtype is an integer": (lambda: MODEL.finite(4, dtype=np.int32), ValueError, "`dtype`", "int32"),
    "replaced by nonsense": (
        lambda: dataclasses.replace(MODEL, richness=-2),
        *(ValueError, "`richness`", "-2"),
    ),
    "an array as the problem": (
        lambda: mf.simulate(MODEL.finite(4), np.eye(3), mf.GradientDescent(0.1, 2)),
        *(TypeError, "`problem`"),
    ),
    "a model as the system": (
        lambda: mf.simulate(MODEL, mf.Problem(np.eye(3), np.ones(3)), mf.GradientDescent(0.1, 2)),
        *(TypeError, "`system`", "finite"),
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_settings_meet_one_sentence(name):
    assert_refused_in_one_sentence(*BAD[name])


def test_unknown_keywords_are_refused_as_python_does():
    with pytest.raises(TypeError, match="unexpected keyword"):
        mlp(depth=3)
    with pytest.raises(TypeError, match="unexpected keyword"):
        MODEL.finite(4, particles=3)


def test_good_settings_of_other_kinds_are_taken():
    """NumPy numbers, dtypes, integers for floats; a bias variance alone gives biases."""
    model = mlp(np.int64(2), parametrization=integrable, richness=1, bias_variance=np.float32(0.5))
    assert model.bias and isinstance(model.hidden_layers, int) and isinstance(model.richness, float)
    assert MODEL.finite(np.int64(4), dtype=np.float64).dtype == "float64"
    assert MODEL.finite(4, dtype=np.dtype("float32")).dtype == "float32"
    assert not MODEL.bias and MODEL == mlp() and hash(MODEL) == hash(mlp())
    assert mlp(1, parametrization=mean_field).finite(3).width == 3
