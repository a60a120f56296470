"""The kernel regime of a multilayer perceptron: the law of an infinite ensemble, in closed form.

f_t(x) = f_0(x) − Θ_xX C_t,   f_0 ~ N(0, Σ/γ²),   dC/dt = χ(f_t(X)).     THEORY 3.1
"""

from meanfield.base.pytree import pytree, static
from meanfield.base.schema import Variable
from meanfield.kernels.ensemble import predict
from meanfield.model.gradient_descent import GradientDescent
from meanfield.model.gradient_flow import GradientFlow
from meanfield.model.problem import Problem
from meanfield.model.system import Model, System
from meanfield.systems.mlp.kernels import kernels_in_units
from meanfield.systems.mlp.network import VARIABLES

SOURCE = "Jacot, Gabriel & Hongler 2018; Lee et al. 2019; THEORY 3.1"


def _law_variables():
    found = dict(VARIABLES)
    for name in ("prediction", "test_prediction"):
        dims, long_name = VARIABLES[name].dims, VARIABLES[name].long_name
        found[f"{name}_spread"] = Variable(dims, f"standard deviation of the {long_name}", source=SOURCE)
        found[f"{name}_error"] = Variable(dims, f"one standard error of the mean {long_name}", source=SOURCE)
    for name in ("loss", "test_loss"):
        words = f"one standard error of the mean {VARIABLES[name].long_name}"
        found[f"{name}_error"] = Variable((), words, source=SOURCE)
    return found


@pytree
class MLPKernelLimit(System):
    """Mean and spread of the outputs of infinitely wide networks, at any step at once.

    Exact for the square loss and wherever the limit is one trajectory; the law under any other loss is an
    average over `draws` of f_0, with a standard error. Mini-batches come in the order of the training's
    `batch_key`, which all networks share: the law is that of the ensemble given the order.
    """

    model: Model = static()
    draws: int = static()

    is_limit = True
    exact = True
    dtype = "float64"
    error_from = "draws of the initial function"
    variables = _law_variables()

    @property
    def law(self):
        """Whether the networks of the ensemble stay different from each other."""
        return self.model.is_law()

    def check(self, problem, training):
        if not isinstance(problem, Problem):
            raise TypeError(
                "Argument `problem` must be a Problem with a fixed training set in the kernel regime, but is "
                f"{problem!r}."
            )
        if not isinstance(training, GradientDescent | GradientFlow) or training.weight_decay:
            raise ValueError(
                "Argument `training` must be GradientDescent or GradientFlow without weight decay for the "
                f"kernel regime, but is {training!r}."
            )

    def kernels(self, x1, x2=None):
        """Σ and Θ in the units of this parametrization."""
        return kernels_in_units(self.model, None, x1, x2)

    def at(self, problem, training, record, key):
        """{name: array} at the recorded steps: means, spreads where the limit is a law, mean losses."""
        test = problem.x_test
        law = predict(
            self.kernels(problem.x),
            problem.y,
            training,
            test=None if test is None else self.kernels(test, problem.x),
            test_test=None if test is None or not self.law else self.kernels(test),
            y_test=problem.y_test,
            times=None if len(record) > training.steps // 2 else training.times()[record],
            loss=problem.loss,
            centred=not self.law,
            draws=self.draws,
            key=key,
        )
        if law.sizes["step"] > len(record):
            law = law.isel(step=record)
        arrays = {name: law[name].values for name in self.variables if name in law}
        if not self.law:
            arrays = {name: value for name, value in arrays.items() if not name.endswith("spread")}
        return arrays

    def initial_kernel(self, problem):
        return self.model.initial_kernel(problem)
