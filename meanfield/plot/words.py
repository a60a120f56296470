"""Labels: quantities, symbols, exponents."""

import math
import re
from fractions import Fraction

from meanfield.studies.report import with_error

SYMBOLS = {"width": "n", "depth": "L", "embedding": "D"}
KINDS = {
    "fluctuation": "one network",
    "bias": "ensemble mean",
    "spread": "ensemble spread",
    "distribution": "law of predictions",
}


def symbol(size):
    return SYMBOLS.get(size, size)


def size_label(size):
    return f"{size} ${symbol(size)}$"


def label_of(variable):
    """What a variable is, with its unit where it has one."""
    text = re.sub(r"\bf\(x\)|\b[A-Z]\b", r"$\g<0>$", variable.attrs.get("long_name", variable.name))
    units = variable.attrs.get("units", "1")
    return text if units == "1" else f"{text} ({units})"


def prediction_label(finite, quantity, sample):
    """The output on one sample, in two lines."""
    where = "test" if quantity.startswith("test_") else "training"
    return f"{label_of(finite['prediction'])},\n{where} sample {sample}"


def time_label(time):
    return f"{time.attrs.get('long_name', 'training time').partition(' t =')[0]} $t$"


def exponent_text(exponent):
    """−1/2 for −0.5, inside a formula."""
    fraction = Fraction(float(exponent)).limit_denominator(12)
    if abs(float(fraction) - exponent) > 1e-9:
        return f"{exponent:.3g}"
    return str(fraction)


def law_label(size, exponent):
    """n^{−1/2}."""
    return f"${symbol(size)}^{{{exponent_text(exponent)}}}$"


def slope_text(value, error):
    """A fitted exponent with one standard error."""
    if not math.isfinite(value):
        return "no signal"
    number, _, spread = with_error(value, error).partition(" ± ")
    if not spread:
        return f"slope ${number}$"
    return rf"slope ${number}\pm{spread}$" if math.isfinite(error) else f"slope ${number}$ ± {spread}"


def scientific(value):
    """1.1 · 10^{−3}, inside a formula."""
    digits, _, power = f"{value:.1e}".partition("e")
    return rf"{digits}\times10^{{{int(power)}}}"
