"""Multilayer perceptrons under any abc-parametrization.  THEORY 3."""

from meanfield.systems.mlp.model import MLP

__all__ = ["MLP"]
