"""Runs a study in a process of its own, to be killed: killed_study.py STORE SETTINGS, settings as JSON.

Says "ready" when everything is imported and "done" at the end.
"""

import json
import sys

import meanfield as mf
from meanfield.studies.study import Study


def made(widths, seeds, steps, samples, test_samples, particles):
    """Digits 3 against 8, a few of them."""
    problem = mf.datasets.digits(classes=(3, 8), samples=samples, test_samples=test_samples)
    model = mf.TwoLayer(mf.activations.tanh)
    limit = model.limit(particles, 2) if particles else None
    return Study(model, problem, mf.GradientDescent(1.0, steps), {"width": widths}, seeds, limit)


if __name__ == "__main__":
    study = made(**json.loads(sys.argv[2]))
    print("ready", flush=True)
    study.run(sys.argv[1], progress=False)
    print("done", flush=True)
