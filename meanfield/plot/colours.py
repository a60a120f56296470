"""Colours, all readable in grey."""

import numpy as np

LIMIT = "black"
LAW = "0.68"
TARGET = "0.45"
DARK = "#31478c"  # what is seen first: fluctuation, a > 0
LIGHT = "#d9751e"  # bias, a < 0
THIRD = "#3a8f6a"


def shades(count):
    """`count` colours of one sequential map, light to dark: their luminance falls."""
    from matplotlib import colormaps

    positions = np.linspace(0.12, 0.88, count) if count > 1 else [0.7]
    return [tuple(colour) for colour in colormaps["viridis_r"](positions)]


def luminance(colour):
    """Relative luminance of a colour, 0 to 1: what is left of it in grey."""
    from matplotlib.colors import to_rgb

    channels = np.asarray(to_rgb(colour))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])
