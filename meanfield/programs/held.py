"""A program inside a system: as it is where it is a pytree, as a constant where it is not."""

from typing import Any

import jax

from meanfield.base.pytree import pytree, static


@pytree
class Held:
    """A program without leaves: part of what is compiled."""

    value: Any = static()


def held(program):
    """Something that passes through jit, from which `released` gives the program back."""
    return Held(program) if jax.tree_util.all_leaves([program]) else program


def released(program):
    return program.value if isinstance(program, Held) else program
