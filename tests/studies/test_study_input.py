"""Arguments of a study: what is wrong is named in one sentence before anything runs."""

import math

import pytest
import small
from assertions import assert_one_sentence
from small import study

import meanfield as mf

LIMIT = small.MODEL.limit
BAD = [
    ({"widths": (8, 4)}, ValueError, "widths"),
    ({"widths": (4, 4)}, ValueError, "widths"),
    ({"widths": ()}, ValueError, "widths"),
    ({"widths": (0, 4)}, ValueError, "widths"),
    ({"widths": (-4, 4)}, ValueError, "widths"),
    ({"widths": 4}, TypeError, "widths"),
    ({"widths": "48"}, TypeError, "widths"),
    ({"widths": None}, TypeError, "widths"),
    ({"widths": (4.0, 8.0)}, TypeError, "widths"),
    ({"widths": (True, 4)}, TypeError, "widths"),
    ({"seeds": 0}, ValueError, "seeds"),
    ({"seeds": -1}, ValueError, "seeds"),
    ({"seeds": 2**32 + 1}, ValueError, "seeds"),
    ({"seeds": 4.0}, TypeError, "seeds"),
    ({"seeds": [0, 1]}, TypeError, "seeds"),
    ({"seeds": None}, TypeError, "seeds"),
    ({"key": -1}, ValueError, "key"),
    ({"key": 2**63}, ValueError, "key"),
    ({"key": 0.5}, TypeError, "key"),
    ({"key": "seed"}, TypeError, "key"),
    ({"record": [4, 0]}, ValueError, "record"),
    ({"record": [0, 5]}, ValueError, "record"),
    ({"record": []}, ValueError, "record"),
    ({"record": 3}, TypeError, "record"),
    ({"memory": 0}, ValueError, "memory"),
    ({"memory": "4GB"}, TypeError, "memory"),
    ({"memory": math.nan}, ValueError, "memory"),
    ({"model": mf.activations.tanh}, TypeError, "model"),
    ({"model": small.MODEL.finite(4)}, TypeError, "model"),
    ({"problem": "digits"}, TypeError, "problem"),
    ({"training": 0.1}, TypeError, "training"),
    ({"training": mf.GradientDescent(0.1, 4, batch_size=9)}, ValueError, "batch_size"),
    ({"limit": 8}, TypeError, "limit"),
    ({"limit": small.MODEL.finite(8)}, TypeError, "limit"),
    ({"observe": 3}, TypeError, "observe"),
    ({"observe": ("kernel",)}, TypeError, "observe"),
    ({"observe": (mf.observe.Moments(), mf.observe.Moments())}, ValueError, "observe"),
    ({"progress": "yes"}, TypeError, "progress"),
    ({"response": True}, TypeError, "response"),
    ({"response": mf.Response(), "training": mf.Langevin(0.1, 4, 0.1)}, TypeError, "training"),
    ({"response": mf.Response(), "training": mf.GradientDescent(0.1, 4, batch_size=2)}, ValueError, "batch"),
]


def shown(case):
    return ", ".join(f"{name}={value!r}"[:40] for name, value in case[0].items())


@pytest.mark.parametrize(("options", "kind", "name"), BAD, ids=map(shown, BAD))
def test_a_bad_argument_is_named_in_one_sentence_before_anything_runs(options, kind, name, tmp_path):
    with pytest.raises(kind) as caught:
        study(tmp_path / "store", **options)
    assert_one_sentence(str(caught.value).replace("meanfield.", ""), f"`{name}")
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("sizes", [None, {}, [4, 8], {"height": [4]}, {4: [4]}])
def test_sizes_that_the_model_does_not_have_are_refused(sizes):
    options = small.settings()
    options.pop("widths")
    with pytest.raises((TypeError, ValueError)) as caught:
        mf.study(sizes=sizes, **options)
    assert_one_sentence(str(caught.value), "`sizes`")
