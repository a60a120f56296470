"""What is drawn on: axes, sizes that fit a paper, and the artists that come back."""

import contextlib
import math

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator
from matplotlib.transforms import offset_copy

from meanfield.plot.colours import LAW

COLUMN = (3.4, 2.9)  # inches: one column of a two-column page
SQUARE = (2.9, 3.1)
PAGE = (7.2, 2.9)  # both columns

PAPER = {
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.use_mathtext": True,
    "hatch.linewidth": 0.4,
    "legend.fontsize": 7,
    "legend.title_fontsize": 7,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
}


class Artists(dict):
    """What a function drew, by name: {"limit": Line2D, ...}."""

    def __init__(self, ax):
        super().__init__()
        self.ax = ax

    @property
    def figure(self):
        return self.ax.figure.figure  # of a subfigure the whole


@contextlib.contextmanager
def paper():
    """Sizes of a printed page, for what is drawn inside; the user's own settings are untouched."""
    with matplotlib.rc_context(PAPER):
        yield


@contextlib.contextmanager
def axes_of(ax, size=COLUMN, **subplot):
    """The axes given, or those of a new figure; a drawing that fails leaves no figure behind."""
    if ax is not None:
        if not isinstance(ax, Axes):
            raise TypeError(f"Argument `ax` must be matplotlib axes or None, but is a {type(ax).__name__}.")
        yield ax
        return
    import matplotlib.pyplot as plt

    with paper():
        figure, ax = plt.subplots(figsize=size, layout="constrained", subplot_kw=subplot)
        fix_ticks(ax)
        try:
            yield ax
        except BaseException:
            plt.close(figure)
            raise


@contextlib.contextmanager
def panels(count, *, rows=1, size=PAGE, **options):
    """(figure, axes) of `count` panels in so many rows on both columns of a page, `options` as of `subplots`;
    what is drawn inside has the sizes of a printed page."""
    with paper():
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(rows, count // rows, squeeze=False, **options).ravel()
        for ax in axes:
            fix_ticks(ax)
        yield figure, axes


def fix_ticks(ax):
    """Ticks are made when they are first drawn, with the settings of that moment: settle them now."""
    ax.tick_params(which="both", labelsize=PAPER["xtick.labelsize"])
    ax.tick_params(which="major", length=3, width=0.6)
    ax.tick_params(which="minor", length=1.8, width=0.5)


def legend_above(ax, handles, columns=1, title=None, lift=0.03):
    """A legend over the axes, where it hides no data, in as many of `columns` as the axes are wide.

    It begins above the labels of the vertical axis.
    """
    aside = 0.4  # inches
    place = offset_copy(ax.transAxes, ax.figure, -aside, units="inches")
    room = ax.bbox.width / ax.figure.dpi + aside
    for count in range(columns, 0, -1):
        legend = ax.legend(
            handles=handles,
            loc="lower left",
            bbox_to_anchor=(0, 1 + lift),
            bbox_transform=place,
            borderaxespad=0,
            borderpad=0,
            frameon=False,
            ncols=count,
            alignment="left",
            handlelength=1.6,
            columnspacing=1.2,
            labelspacing=0.3,
        )
        if legend.get_window_extent().width <= room * ax.figure.dpi:
            break
    if title is not None:
        legend.set_title(title)
    return legend


def intervals(ax, x, low, high, **style):
    """Vertical lines, which the limits of the axes leave room for whatever their transform."""
    if len(x):
        ax.update_datalim([*zip(x, low, strict=True), *zip(x, high, strict=True)])
    return ax.vlines(x, low, high, lw=0.9, **style)


def estimates(ax, x, value, half, *, color, **style):
    """Points with their intervals value ± half; the points come back, as from `plot`."""
    intervals(ax, x, value - half, value + half, color=color, zorder=2)
    return ax.plot(x, value, **{"zorder": 3, **style, "color": color, "ls": "none"})


def law_through(ax, x, values, exponent):
    """The law C x^exponent through the middle of the values, their mean in logarithms; its heights at x."""
    heights = np.exp(np.mean(np.log(values / x**exponent))) * x**exponent
    ax.plot(x, heights, color=LAW, lw=0.8, zorder=1)
    return heights


def law_name(ax, text, place, **options):
    """What a grey law is called, at the end of its line or where the options say."""
    at_end = {"xytext": (2, 0), "va": "center"}
    options = {**at_end, **options, "textcoords": "offset points", "color": "0.35", "fontsize": "small"}
    return ax.annotate(text, place, **options)


def size_axis(ax, sizes, right=1.3):
    """A logarithmic axis of widths or depths, with as many of them as labels as there is room for."""
    sizes = [int(size) for size in sizes]
    ax.set_xscale("log")
    ax.set_xlim(min(sizes) / 1.3, max(sizes) * right)
    inches = ax.bbox.width / ax.figure.dpi
    inches_per_decade = inches / math.log10(ax.get_xlim()[1] / ax.get_xlim()[0])
    character = 0.7 * PAPER["xtick.labelsize"] / 72

    def fits(kept):
        rooms = [character * (len(str(a) + str(b)) / 2 + 0.6) for a, b in zip(kept, kept[1:], strict=False)]
        gaps = [math.log10(b / a) * inches_per_decade for a, b in zip(kept, kept[1:], strict=False)]
        return all(gap > room for gap, room in zip(gaps, rooms, strict=True))

    candidates = (
        sizes[::-stride][::-1] for stride in range(1, len(sizes) + 1)
    )  # the largest is always there
    kept = next(kept for kept in candidates if fits(kept))
    ax.set_xticks(kept, [str(size) for size in kept])
    ax.xaxis.set_minor_locator(NullLocator())


def plain_log_ticks(axis):
    """Labels at powers of ten, and at 2 and 5 times these where there are few powers."""
    low, high = axis.get_view_interval()
    powers = math.floor(math.log10(high)) - math.ceil(math.log10(low)) + 1
    if powers >= 2:
        axis.set_minor_formatter(NullFormatter())
    else:
        axis.set_minor_formatter(FuncFormatter(_two_and_five))


def _two_and_five(value, position):
    power = math.floor(math.log10(value) + 1e-9)
    digit = round(value / 10**power)
    return rf"${digit}\times10^{{{power}}}$" if digit in (2, 5) else ""


def time_axis(ax, times, label):
    """Logarithmic time, with 0 at the left end, where the times span more than a decade and a half."""
    ax.set_xlabel(label)
    ax.set_xlim(float(times.min()), float(times.max()))
    positive = times[times > 0]
    if not positive.size or positive.max() <= 30 * positive.min():
        return
    if not (times == 0).any():
        ax.set_xscale("log")
        return
    first, last = float(positive.min()), float(positive.max())
    ax.set_xscale("symlog", linthresh=first, linscale=0.4)
    powers = 10.0 ** np.arange(math.ceil(math.log10(first) - 1e-9), math.floor(math.log10(last) + 1e-9) + 1)
    labels = [f"$10^{{{round(math.log10(power))}}}$" for power in powers]
    ax.set_xticks([0, *powers], ["0", *labels])
    between = (powers[:, None] / 10 * np.arange(2, 10)).ravel()
    between = np.append(between, powers[-1] * np.arange(2, 10))
    ax.set_xticks(between[(between > first) & (between < last)], minor=True)
