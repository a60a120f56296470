"""Do deep networks that learn features approach their infinite-width limit like n^{-1/2}?

Claim: under the maximal update parametrization every layer keeps learning features as the width grows, and
training tends to a limit (Yang & Hu 2021; Bordelon & Pehlevan 2022). One network of width n is at distance
n^{-1/2} from it, the mean over networks at 1/n (Dyer & Gur-Ari 2020; Bordelon & Pehlevan 2023). The limit is
computed by itself, with particles, and its own error has to stay below the last point. The mean over 16
networks is noise of n^{-1/2} as well, from which a bias of 1/n is not resolved.

Data: digits 3 and 8 with tanh; with relu the corners of a square, XOR, in noise, for which features are
needed, as no linear function of the inputs is correlated with the labels.
Networks wider than `above` are drawn without their matrices, in the same law: widths up to a million are an
option away, --widths 64 4096 1000000.
Time: about a minute on two cores.
"""

import meanfield as mf

SOURCES = (
    "Yang & Hu 2021, Tensor programs IV: feature learning in infinite-width neural networks, Proceedings of "
    "Machine Learning Research 139, 11727-11737",
    "Bordelon & Pehlevan 2022, Self-consistent dynamical field theory of kernel evolution in wide neural "
    "networks, Advances in Neural Information Processing Systems 35",
    "Bordelon & Pehlevan 2023, Dynamics of finite width kernel and prediction fluctuations in mean field "
    "neural networks, Advances in Neural Information Processing Systems 36",
    "Dyer & Gur-Ari 2020, Asymptotics of wide networks from Feynman diagrams, International Conference on "
    "Learning Representations",
)


def studies(
    *,
    problems: tuple[str, ...] = ("digits", "xor"),
    widths: tuple[int, ...] = (64, 128, 256, 512, 1024, 2048, 4096),
    seeds: int = 16,
    particles: int = 4096,
    replicates: int = 8,
    hidden_layers: int = 2,
    above: int = 1024,
    samples: int = 16,
    test_samples: int = 48,
    steps: int = 30,
    learning_rate: float = 0.5,
    key: int = 0,
):
    """The studies behind the figure, one for each problem."""
    from meanfield.studies.study import Study

    digits = mf.datasets.digits((3, 8), samples, test_samples, squared_norm=64, key=key)
    xor = mf.datasets.xor(samples, test_samples, dimension=4, spread=0.3, key=key)
    mup, training = mf.parametrizations.mup, mf.GradientDescent(learning_rate, steps)
    record = sorted({round(steps * i / 10) for i in range(11)})
    known = {
        "digits": (digits, mf.MLP(hidden_layers, mf.activations.tanh, mup)),
        "xor": (xor, mf.MLP(hidden_layers, mf.activations.relu, mup, weight_variance=2.0)),
    }
    found = {}
    for name in problems:
        if name not in known:
            raise ValueError(f"Argument `problems` must be of digits, xor, but has {name!r}.")
        problem, model = known[name]
        found[name] = Study(
            model, problem, training, {"width": widths}, seeds, model.limit(particles, replicates), key,
            record, sampler=mf.MatrixFree(above=above),
        )  # fmt: skip
    return found


def compute(
    *,
    problems: tuple[str, ...] = ("digits", "xor"),
    widths: tuple[int, ...] = (64, 128, 256, 512, 1024, 2048, 4096),
    seeds: int = 16,
    particles: int = 4096,
    replicates: int = 8,
    hidden_layers: int = 2,
    above: int = 1024,
    samples: int = 16,
    test_samples: int = 48,
    steps: int = 30,
    learning_rate: float = 0.5,
    key: int = 0,
    store: str | None = None,
    progress: bool = True,
):
    """Networks of every width on every problem, their limits, the comparisons.

    Args:
        problems: of digits, xor.
        widths: of every hidden layer.
        seeds: networks of every width.
        particles: of one replicate of the limit.
        replicates: of the limit, whose spread is its error.
        hidden_layers: L.
        above: networks of at most this width have their matrices drawn.
        samples: training samples.
        test_samples: test samples.
        steps: steps of gradient descent.
        learning_rate: in the units of the limit.
        key: integer that all randomness derives from.
        store: folder of results.
        progress: show a bar on a terminal.
    """
    import xarray as xr

    from meanfield.studies.store import part_of

    found = studies(
        problems=problems, widths=widths, seeds=seeds, particles=particles, replicates=replicates,
        hidden_layers=hidden_layers, above=above, samples=samples, test_samples=test_samples, steps=steps,
        learning_rate=learning_rate, key=key,
    )  # fmt: skip
    groups = {}
    for name, study in found.items():
        tree = study.run(part_of(store, name), progress=progress)
        groups[name] = xr.Dataset(attrs=tree.attrs)
        groups |= {f"{name}/{part}": node.dataset for part, node in tree.children.items()}
    return xr.DataTree.from_dict(groups)


def summary(data):
    """The report of every study, and how far the limit's error is below the last point."""
    lines = []
    for name, study in data.children.items():
        fit = study["fit"].dataset.sel(quantity="test_prediction")
        last = float(fit["error"].sel(kind="fluctuation")[-1])
        own = float(fit["limit_error"])
        lines += [
            name,
            mf.report(study),
            f"   the widest networks are {last / own:.1f} errors of the limit away from it, theory above 1",
            "",
        ]
    return "\n".join(lines).rstrip()


def draw(data):
    """Distances on every problem; the test loss on the last one over time."""
    from meanfield.plot.canvas import panels

    count = 1 + len(data.children)
    with panels(count, size=(2.4 * count, 2.9)) as (figure, axes):
        for ax, (name, study) in zip(axes, data.children.items(), strict=False):
            mf.plot.convergence(study, ax=ax)
            ax.set_ylabel(f"distance to the limit, {name},\ntest predictions")
        mf.plot.training_curves(study, "test_loss", ax=axes[-1])
        axes[-1].set_ylabel(f"test loss, {name}")
    return figure
