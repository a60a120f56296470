"""Two-layer networks against their mean-field limit: one system, its parts in files of their own."""

from meanfield.systems.two_layer.model import TwoLayer

__all__ = ["TwoLayer"]
