"""Figures as files."""

import os
import pathlib

import matplotlib
from matplotlib.figure import Figure

from meanfield.base.checks import instance

# Neither the date nor the versions of today: the same figure gives the same bytes.
KINDS = {"png": {"dpi": 200, "metadata": {"Software": None}}, "pdf": {"metadata": {"CreationDate": None}}}


def save(figure, path):
    """Write a figure as PNG, 200 dots per inch, and as PDF; the same figure gives the same bytes.

    Args:
        figure: a matplotlib Figure, or what a function of `meanfield.plot` returned.
        path: where to, without suffix.
    Returns:
        list of pathlib.Path, the files written.
    """
    figure = getattr(figure, "figure", figure)
    instance("figure", figure, Figure, "a matplotlib figure or what a function of meanfield.plot returned")
    instance("path", path, str | os.PathLike, "a path without suffix")
    path = pathlib.Path(path)
    if path.suffix[1:] in KINDS or not path.name:
        raise ValueError(f"Argument `path` must be without suffix, as two files are written, but is {path}.")
    if not path.parent.is_dir():
        raise ValueError(f"Argument `path` must lie in a folder that exists, but {path.parent} does not.")
    written = []
    with matplotlib.rc_context({"pdf.fonttype": 42, "savefig.bbox": None}):
        for suffix, options in KINDS.items():
            target = path.with_name(f"{path.name}.{suffix}")
            unfinished = path.with_name(f".{path.name}.{suffix}.part")
            _forget_layout(figure)
            figure.savefig(unfinished, format=suffix, **options)
            unfinished.replace(target)
            written.append(target)
    return written


def _forget_layout(figure):
    """Axes where their grid puts them: a layout begins with the last one and is never the same again."""
    if figure.get_layout_engine() is None:
        return
    for ax in figure.axes:
        if ax.get_subplotspec() is not None and ax.get_in_layout():
            ax.set_subplotspec(ax.get_subplotspec())
