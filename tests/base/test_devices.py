"""Several devices: particles are cut among them, and the numbers stay the same."""

import os
import subprocess
import sys

import numpy as np

PROGRAM = """
import sys
import jax
import numpy as np
import meanfield as mf

rng = np.random.default_rng(0)
x = rng.standard_normal((5, 2))
problem = mf.Problem(x, np.sin(x[:, 0]), x_test=x[:3] + 0.1)
model, training = mf.TwoLayer(mf.activations.tanh, bias=True), mf.GradientDescent(0.3, 6, momentum=0.5)
networks = mf.simulate(model.finite(30, dtype="float64"), problem, training, seeds=3)
limit = mf.simulate(model.limit(64, 2), problem, training)
chunks = mf.simulate(model.limit(40_000, 2), problem, training, memory=1e6)
with jax.enable_x64(True):
    state = model.limit(64, 2).start(problem, training, jax.random.key(0))
    sharding = state.parameters["w"].sharding
    print(len(sharding.device_set), sharding.shard_shape((2, 64, 2)))
np.savez(sys.argv[1], networks=networks.prediction, limit=limit.test_prediction, chunks=chunks.prediction)
"""


def on_this_device(path, monkeypatch, capsys):
    """The program's results on the one device of this process, and what it says of its arrays."""
    monkeypatch.setattr(sys, "argv", ["program", str(path)])
    exec(PROGRAM, {})
    return dict(np.load(path)), capsys.readouterr().out.strip()


def on_devices(number, path):
    """The same with that many devices, in a process of its own."""
    flags = os.environ.get("XLA_FLAGS", "") + f" --xla_force_host_platform_device_count={number}"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path)],
        capture_output=True, text=True, env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(np.load(path)), done.stdout.strip()


def test_particles_on_four_devices_move_as_on_one(tmp_path, monkeypatch, capsys):
    one, alone = on_this_device(tmp_path / "one.npz", monkeypatch, capsys)
    four, cut = on_devices(4, tmp_path / "four.npz")
    assert alone == "1 (2, 64, 2)" and cut == "4 (2, 16, 2)"
    for name, values in one.items():
        assert np.abs(four[name] - values).max() <= 1e-12 * np.abs(values).max(), name
