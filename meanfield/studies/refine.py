"""A limit with as many particles as its comparison needs."""

import numpy as np

from meanfield.studies.simulate import run

MOST = 2**17
SHARE = 0.25  # of the smallest finite-width error
ALONE = 0.01  # of the root mean square prediction, where there is nothing to compare with


def own_errors(limit, names):
    """Root mean square over steps and samples of the limit's own standard error."""
    return {
        n: float(np.sqrt(np.mean(limit[f"{n}_error"].values ** 2))) for n in names if f"{n}_error" in limit
    }


def _bound(system, problem, training, particles, memory, looks):
    """What forbids a particle number, or None."""
    if particles > MOST:
        return f"{MOST} particles"
    planned, _ = system.with_particles(particles).plan(problem, training, 1, memory, looks)
    return f"{memory:.3g} bytes of memory" if planned.memory_bytes(problem, training) > memory else None


def refine(
    system,
    problem,
    training,
    *,
    key,
    record,
    observe,
    memory,
    smallest=None,
    start=512,
    load=None,
    save=None,
    where=None,
    report=None,
):
    """Double the particles until the limit's error is a quarter of the smallest finite-width error.

    The next number is guessed from the error seen and the rate M^{−1/2}, at most sixteen times the last.

    Args:
        system: a limit without particle number.
        smallest: {quantity: smallest finite-width error}; by default the error need only be 1% of the root
            mean square prediction.
        start: particles to begin with.
        load, save: system → stored dataset or None, and (system, dataset) → None.
        where: system → where an unfinished result of it is kept.
    Returns:
        the dataset, with attributes `particles` and `refinement`, which says why it stopped.
    """
    particles = start
    while True:
        candidate = system.with_particles(particles).settled(problem)
        limit = load(candidate) if load else None
        if limit is None:
            checkpoint = where(candidate) if where else None
            limit = run(candidate, problem, training, [], key, record, observe, memory, report, checkpoint)
            if save:
                save(candidate, limit)
        if smallest is None:
            targets = {"prediction": ALONE * float(np.sqrt(np.mean(limit.prediction.values**2)))}
        else:
            targets = {n: SHARE * value for n, value in smallest.items()}
        diverged = int(limit.first_bad_step)
        errors = {} if diverged >= 0 else own_errors(limit, targets)
        ratios = {n: errors[n] / max(targets[n], 1e-300) for n in errors if np.isfinite(errors[n])}
        worst = max(ratios, key=ratios.get) if ratios else None
        goal = "a quarter of the smallest finite-width error" if smallest else "1% of the rms prediction"
        if worst is None:
            reason = f"stopped: the limit diverged at step {diverged}"
        elif ratios[worst] <= 1:
            reason = (
                f"reached: rms error {errors[worst]:.2g} of the {worst} is below {goal}, {targets[worst]:.2g}"
            )
        else:
            factor = min(16, 2 ** int(np.ceil(np.log2(ratios[worst] ** 2 * 1.1))))
            while factor > 1 and (
                bound := _bound(system, problem, training, particles * factor, memory, bool(observe))
            ):
                factor //= 2
            if factor > 1:
                particles *= factor
                continue
            reason = (
                f"stopped at the bound of {bound}: rms error {errors[worst]:.2g} of the {worst} is above "
                f"{goal}, {targets[worst]:.2g}"
            )
        return limit.assign_attrs(particles=candidate.rows, replicates=system.count, refinement=reason)


def fixed(system, limit):
    """A limit whose particle number was given, or that has none, with the same attributes."""
    if system.exact:
        drawn = "prediction_error" in limit
        reason = f"draws of the initial function: {system.draws}" if drawn else "exact: nothing to refine"
        return limit.assign_attrs(particles=0, replicates=0, refinement=reason)
    return limit.assign_attrs(
        particles=system.rows,
        replicates=system.count,
        refinement="not refined: the particle number was given",
    )
