"""Settings and states that pass through jit, vmap and grad: frozen dataclasses registered as pytrees."""

import dataclasses

import jax


def static(**options):
    """A field that is part of the compiled program: a shape, a function, a choice of method."""
    return dataclasses.field(metadata={"static": True}, **options)


def is_static(field):
    return field.metadata.get("static", False)


def pytree(cls=None, **options):
    """Make `cls` a frozen dataclass whose fields are leaves, those marked `static` excepted.

    Rebuilding inside a transformation bypasses the constructor: it would check tracers and placeholders.
    """
    if cls is None:
        return lambda cls: pytree(cls, **options)
    cls = dataclasses.dataclass(frozen=True, **options)(cls)
    leaves = tuple(f.name for f in dataclasses.fields(cls) if not is_static(f))
    fixed = tuple(f.name for f in dataclasses.fields(cls) if is_static(f))

    def flatten_with_keys(obj):
        children = tuple((jax.tree_util.GetAttrKey(name), getattr(obj, name)) for name in leaves)
        return children, tuple(getattr(obj, name) for name in fixed)

    def flatten(obj):
        return tuple(getattr(obj, name) for name in leaves), tuple(getattr(obj, name) for name in fixed)

    def unflatten(aux, children):
        obj = object.__new__(cls)
        for name, value in zip(fixed, aux, strict=True):
            object.__setattr__(obj, name, value)
        for name, value in zip(leaves, children, strict=True):
            object.__setattr__(obj, name, value)
        return obj

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
    return cls
