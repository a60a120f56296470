"""Kernels tile by tile: any size, bounded memory, files that survive a killed run."""

import os
import signal
import subprocess
import sys
import textwrap
import tracemalloc

import numpy as np
import pytest
import xarray as xr
from assertions import assert_one_sentence
from plain_kernels import inputs

import meanfield as mf
from meanfield.kernels import tiles
from meanfield.kernels.inputs import Directions
from meanfield.kernels.tiles import InFile, Tiles


def kernel(x1, x2=None, **options):
    given = {"hidden_layers": 2, "activation": mf.activations.erf, "bias_variance": 0.1, **options}
    return mf.kernels.mlp(x1, x2, **given)


@pytest.fixture
def small(monkeypatch):
    """Tiles of at most 8 × 8."""
    monkeypatch.setattr(tiles, "SIDE", 8)


@pytest.mark.parametrize(
    "rows, columns, symmetric", [(1, 1, True), (8, 8, True), (17, 17, True), (9, 30, False)]
)
def test_tiles_cover_every_pair_once(small, rows, columns, symmetric):
    count = np.zeros((rows, columns), int)
    for one, other in Tiles(rows, columns, symmetric):
        assert one.stop - one.start <= 8 and other.stop - other.start <= 8
        count[one, other] += 1
        if symmetric and one != other:
            count[other, one] += 1
    assert (count == 1).all()


@pytest.mark.parametrize("layers, both", [(False, True), (True, False)])
def test_small_tiles_give_the_kernel_of_one_tile(monkeypatch, layers, both):
    """To rounding: matrix products of other shapes add in another order. Inputs in a hundred dimensions, so
    that tiles off the diagonal have small correlations only, of which a series takes few terms."""
    x, y = inputs(21, 100), inputs(13, 100, seed=4) if both else None
    phi = mf.activations.tanh if layers else mf.activations.erf
    whole = kernel(x, y, layers=layers, activation=phi)
    monkeypatch.setattr(tiles, "SIDE", 8)
    pieces = kernel(x, y, layers=layers, activation=phi)
    for name, value in vars(whole).items():
        if value is not None:
            assert np.abs(getattr(pieces, name) - value).max() <= 1e-14 * np.abs(value).max()
            if not both:
                np.testing.assert_array_equal(
                    getattr(pieces, name), np.swapaxes(getattr(pieces, name), -1, -2)
                )


def test_angles_of_close_inputs_in_a_spread_set():
    """Pairs at angles from 1e-12 to 1, nearly opposite ones too, among inputs of all lengths."""
    rng = np.random.default_rng(0)
    base, other = np.linalg.qr(rng.standard_normal((6, 2)))[0].T
    theta = 10.0 ** np.arange(-12, 1)[:, None]
    x = np.concatenate([np.cos(theta) * base + np.sin(theta) * other, rng.standard_normal((20, 6))])
    x *= 10.0 ** rng.uniform(-3, 3, (len(x), 1))
    delta = Directions(x, (base[None], -base[None])[0], "float64", (len(x), 1)).tile(
        slice(0, len(x)), slice(0, 1)
    )
    expected = 2 * np.sin(theta[:, 0] / 2) ** 2
    # cos θ · base rounds each coordinate: the angle is off by eps, δ by eps/θ relative
    assert (np.abs(delta[:13, 0] / expected - 1) <= 1e-14 + 8 * 2.0**-52 / theta[:, 0]).all()
    opposite = Directions(x, -base[None], "float64", (len(x), 1)).tile(slice(0, len(x)), slice(0, 1))
    np.testing.assert_allclose(opposite, 2 - delta, rtol=0, atol=1e-15)


def test_memory_is_two_kernels_and_little_more(monkeypatch):
    """What NumPy holds at its height: two n × n arrays, a few copies of the inputs, a few tiles a thread."""
    monkeypatch.setattr(tiles, "SIDE", 100)
    n = 1000
    x = inputs(n, 3)
    kernel(x[:100])  # compiled
    tracemalloc.start()
    try:
        kernel(x)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 2 * n * n * 8 <= peak <= 2.5 * n * n * 8


def test_a_kernel_that_does_not_fit_asks_for_a_file(monkeypatch):
    monkeypatch.setattr(os, "sysconf", lambda name: 1)
    with pytest.raises(ValueError) as error:
        kernel(inputs())
    assert_one_sentence(str(error.value), "`path`")


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_file_holds_the_kernel_with_its_names(small, tmp_path, dtype):
    x = inputs(21)
    path = tmp_path / "kernel.nc"
    found = kernel(x, path=path, layers=True, dtype=dtype)
    expected = kernel(x, layers=True, dtype=dtype)
    with xr.open_dataset(path) as data:
        assert data["nngp"].dims == ("sample", "sample_2")
        assert data["ntk_layers"].dims == ("layer", "sample", "sample_2")
        assert data["ntk"].attrs["long_name"] and data["ntk"].attrs["units"] == "1"
        assert {"settings", "versions", "device", "identity"} <= set(data.attrs)
        for name, value in vars(expected).items():
            assert data[name].dtype == dtype
            np.testing.assert_array_equal(data[name].values, value)
            np.testing.assert_array_equal(getattr(found, name), value)
    assert not list(tmp_path.glob(".*"))


def counted(monkeypatch, stop=None):
    """Counts tiles written to files; ends the run before the one of number `stop`."""
    written, plain = [], InFile.write

    def write(self, tile, values):
        if len(written) == stop:
            raise KeyboardInterrupt
        written.append(tile)
        plain(self, tile, values)

    monkeypatch.setattr(InFile, "write", write)
    return written


def test_an_interrupted_file_is_continued(small, tmp_path, monkeypatch):
    """Tiles that are there are not computed again; one whose bytes were torn is."""
    x, path = inputs(21), tmp_path / "kernel.nc"
    with monkeypatch.context() as context:
        counted(context, stop=3)
        with pytest.raises(KeyboardInterrupt):
            kernel(x, path=path)
    with xr.open_dataset(path) as data:
        done = int((data["checksum"] > 0).sum())
        assert 3 <= done < data.sizes["tile"]
        total = data.sizes["tile"]
    written = counted(monkeypatch)
    found = kernel(x, path=path)
    assert len(written) == total - done
    np.testing.assert_array_equal(found.ntk, kernel(x).ntk)
    del found

    written.clear()
    kernel(x, path=path)
    assert not written

    import h5py

    with h5py.File(path, "r+") as file:
        file["ntk"][20, 0] += 1  # mirrored part of the tile in the far corner
    found = kernel(x, path=path)
    assert len(written) == 1
    np.testing.assert_array_equal(found.ntk, kernel(x).ntk)


def test_a_killed_run_is_continued(tmp_path):
    """A process that kills itself in the middle of a tile leaves a file that opens and is completed."""
    path = tmp_path / "kernel.nc"
    script = f"""
        import os, signal, sys
        import numpy as np
        import meanfield as mf
        from meanfield.kernels import tiles
        tiles.SIDE = 8
        place, count = tiles.place, [0]
        def killing(array, tile, values, symmetric):
            count[0] += 1
            if count[0] == 6:
                array[tile[0], tile[1]][0] = 7.0
                os.kill(os.getpid(), signal.SIGKILL)
            place(array, tile, values, symmetric)
        if len(sys.argv) == 2:
            tiles.place = killing
        x = np.random.default_rng(0).standard_normal((21, 4))
        mf.kernels.mlp(x, hidden_layers=2, activation=mf.activations.relu, path={str(path)!r})
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    killed = subprocess.run([*command, "kill"], capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    with xr.open_dataset(path) as data:
        assert 0 < int((data["checksum"] > 0).sum()) < data.sizes["tile"]
    subprocess.run(command, check=True, capture_output=True)
    x = np.random.default_rng(0).standard_normal((21, 4))
    expected = mf.kernels.mlp(x, hidden_layers=2, activation=mf.activations.relu)
    with xr.open_dataset(path) as data:
        assert np.abs(data["ntk"].values - expected.ntk).max() <= 1e-13
        assert np.abs(data["nngp"].values - expected.nngp).max() <= 1e-13


def test_a_file_of_something_else_is_not_touched(small, tmp_path):
    x, path = inputs(9), tmp_path / "kernel.nc"
    kernel(x, path=path)
    before = path.read_bytes()
    other = tmp_path / "text.nc"
    other.write_text("no kernel")
    for call in (
        lambda: kernel(x + 1e-9, path=path),
        lambda: kernel(x, path=path, hidden_layers=3),
        lambda: kernel(x, path=path, dtype="float32"),
        lambda: kernel(x, path=other),
    ):
        with pytest.raises(ValueError) as error:
            call()
        assert_one_sentence(str(error.value), "`path`")
    assert path.read_bytes() == before and other.read_text() == "no kernel"
    with pytest.raises(OSError) as error:
        kernel(x, path=tmp_path / "nowhere" / "kernel.nc")
    assert_one_sentence(str(error.value), "nowhere")
