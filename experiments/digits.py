"""Do two-layer networks trained on real digits approach their mean-field limit at the predicted rates?

Claim: at fixed training time one network of width n is at distance n^{-1/2} from the limit, the mean over
networks at 1/n (Mei, Montanari & Nguyen 2018; Rotskoff & Vanden-Eijnden 2018). At 32 seeds the first is
resolved; the second lies below the noise of a mean over 32 networks, and the verdict says so.

Data: digits 3 against 8 of the UCI optical digits, 64 for training, 200 for testing; tanh; square loss.
Time: about a minute on two cores.
"""

import meanfield as mf

SOURCES = (
    "Mei, Montanari & Nguyen 2018, A mean field view of the landscape of two-layer neural networks, "
    "Proceedings of the National Academy of Sciences 115(33), E7665-E7671",
    "Rotskoff & Vanden-Eijnden 2018, Parameters as interacting particles: long time convergence and "
    "asymptotic error scaling of neural networks, Advances in Neural Information Processing Systems 31",
    "Alpaydin & Kaynak 1998, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository",
)


def studies(
    *,
    widths: tuple[int, ...] = (64, 128, 256, 512, 1024, 2048, 4096),
    seeds: int = 32,
    steps: int = 200,
    learning_rate: float = 1.0,
    samples: int = 64,
    test_samples: int = 200,
    key: int = 0,
):
    """The one study behind the figure."""
    from meanfield.studies.study import Study

    problem = mf.datasets.digits(classes=(3, 8), samples=samples, test_samples=test_samples)
    model = mf.TwoLayer(mf.activations.tanh)
    training = mf.GradientDescent(learning_rate, steps)
    return {"digits": Study(model, problem, training, {"width": widths}, seeds, key=key)}


def compute(
    *,
    widths: tuple[int, ...] = (64, 128, 256, 512, 1024, 2048, 4096),
    seeds: int = 32,
    steps: int = 200,
    learning_rate: float = 1.0,
    samples: int = 64,
    test_samples: int = 200,
    key: int = 0,
    store: str | None = None,
    progress: bool = True,
):
    """Networks of every width, their limit, the comparison.

    Args:
        widths: numbers of hidden neurons.
        seeds: networks of every width.
        steps: steps of gradient descent.
        learning_rate: in the units of the limit; the stability edge is near 10.
        samples: training images.
        test_samples: test images.
        key: integer that all randomness derives from.
        store: folder of results.
        progress: show a bar on a terminal.
    """
    (study,) = studies(
        widths=widths, seeds=seeds, steps=steps, learning_rate=learning_rate, samples=samples,
        test_samples=test_samples, key=key,
    ).values()  # fmt: skip
    return study.run(store, progress=progress)


def summary(data):
    return mf.report(data)


def draw(data):
    return mf.plot.summary(data)
