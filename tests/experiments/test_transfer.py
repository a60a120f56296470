"""The experiment on learning-rate transfer, at a size of seconds."""

import numpy as np
import xarray as xr
from meanfield.experiments import transfer as experiment
from round_trip import check_protocol, check_resumption, computed

OPTIONS = {
    "widths": (16, 64), "seeds": 4, "samples": 8, "steps": 10, "octaves": (-0.667, 0.667),
    "adam": (-5.0, -4.667), "progress": False,
}  # fmt: skip
data = computed(experiment, OPTIONS)


def test_the_optimum_of_a_parabola_is_found_between_grid_points():
    """log loss = (log η − log η*)²: the parabola is the curve itself."""
    rates = experiment.powers_of_two(-2, 2)
    truth = np.array([0.9, 1.0, 3.3])
    best, inside = experiment.optima(rates, (np.log(rates) - np.log(truth)[:, None]) ** 2)
    np.testing.assert_allclose(best, truth, rtol=1e-12)
    assert inside.all()


def test_an_optimum_at_an_end_or_next_to_a_divergence_is_the_grid_point():
    rates = experiment.powers_of_two(-2, 2)
    best, inside = experiment.optima(rates, np.log(rates / 100.0) ** 2)
    assert best == rates[-1] and not inside
    best, inside = experiment.optima(rates, np.where(rates > 1, np.inf, -np.log(rates)))
    assert best == rates[6] and inside
    np.testing.assert_allclose(best, 1.0)


def made_up(exponent, widths=(16, 64, 256), first=1.0):
    """Losses of three networks, a factor apart, whose best rate is exactly first · (n/64)^exponent."""
    rates, widths = experiment.powers_of_two(-4, 4), np.array(widths)
    best = first * (widths / 64) ** exponent
    logs = (np.log(rates) - np.log(best)[:, None]) ** 2 + np.array([0.0, 0.3, -0.2])[:, None, None]
    return xr.Dataset({"loss": (("seed", "width", "rate"), np.exp(logs))}, {"width": widths, "rate": rates})


def test_drifts_of_exact_power_laws_are_their_exponents():
    """To rounding; networks agree, so that the error is the grid's: ln 2/3 over √(12 · 2 (ln 4)²). A drift is
    not taken for none."""
    found = experiment.drift({"standard": made_up(-1.0), "ntk": made_up(0.0), "mup": made_up(-1.0)})
    np.testing.assert_allclose(found["exponent"], [-1, 0, -1], atol=1e-12)
    np.testing.assert_allclose(found["exponent_error"], np.log(2) / 3 / np.sqrt(24) / np.log(4))
    assert found["verdict"].values.tolist() == ["consistent", "consistent", "not resolved"]
    wide = experiment.drift({"mup": made_up(-1.0, (8, 16, 64, 256, 512))})
    assert wide["verdict"].item() == "inconsistent"


def test_an_optimum_at_an_end_is_no_verdict():
    found = experiment.drift({"mup": made_up(0.0, first=100.0)})
    assert found["verdict"].item() == "not resolved" and found["outside"].item() == 3


def test_one_grid_of_the_standard_parametrization_holds_the_edges_of_all_widths(data):
    """From the smallest rate of the widest network to the largest of the narrowest: two octaves more."""
    standard, ntk = (data[name]["rate"].values for name in ("standard", "ntk"))
    np.testing.assert_allclose(standard[-1] / standard[0], ntk[-1] / ntk[0] * 64 / 16)
    for rates in (standard, ntk):
        np.testing.assert_allclose(rates[1:] / rates[:-1], 2 ** (1 / 3))


def test_the_best_rate_falls_with_the_width_in_the_standard_parametrization_only(data):
    """Over a factor of four in the width, optima within a factor of two of an edge that is ∝ 1/n or constant
    are 4 apart or none, to a factor of 2."""
    found = data["drift"].dataset
    for name in ("standard", "ntk", "mup"):
        at = found.sel(case=name)
        assert abs(float(at["exponent"] - at["predicted"])) <= 0.5


def test_it_is_drawn_and_survives_a_file(data):
    check_protocol(experiment, data, axes=4)


def test_a_store_is_used(data, folder, key, monkeypatch):
    check_resumption(experiment, OPTIONS | {"key": key}, folder, monkeypatch)
    assert experiment.studies(**OPTIONS) == {}
