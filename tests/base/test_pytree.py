"""Frozen dataclasses as pytrees: leaves, static fields, rebuilding past the constructor."""

import dataclasses
import pickle

import jax
import jax.numpy as jnp
import pytest

from meanfield.base.pytree import is_static, pytree, static


@pytree
class Settings:
    rate: float
    method: str = static(default="plain")
    count: int = 3

    def __post_init__(self):
        if not self.rate > 0:
            raise ValueError("positive")


def test_fields_are_leaves_unless_static():
    assert jax.tree.leaves(Settings(0.5)) == [0.5, 3]
    assert [is_static(f) for f in dataclasses.fields(Settings)] == [False, True, False]


def test_static_fields_are_part_of_the_structure():
    structures = [jax.tree.structure(Settings(0.5, method)) for method in ("plain", "plain", "other")]
    assert structures[0] == structures[1] != structures[2]


def test_the_constructor_is_not_called_on_tracers_or_placeholders():
    """A check of concrete values would fail on them."""
    double = jax.jit(lambda s: jax.tree.map(lambda leaf: 2 * leaf, s))(Settings(0.5))
    assert isinstance(double, Settings) and float(double.rate) == 1 and double.method == "plain"
    holes = jax.tree.map(lambda _: None, Settings(0.5), is_leaf=lambda leaf: leaf is None)
    assert holes.rate is None
    assert jax.tree.map(lambda leaf: -leaf, Settings(0.5)).rate == -0.5


def test_the_constructor_is_called_by_users_and_by_replace():
    for make in (lambda: Settings(-1.0), lambda: dataclasses.replace(Settings(1.0), rate=-1.0)):
        with pytest.raises(ValueError, match="positive"):
            make()


def test_it_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings(0.5).rate = 1.0


def test_paths_carry_the_names_of_fields():
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_flatten_with_path(Settings(0.5))[0]]
    assert paths == [".rate", ".count"]


def test_leaves_are_traced_and_static_fields_compile_anew():
    count = []

    @jax.jit
    def run(settings):
        count.append(settings.method)
        return settings.rate * settings.count

    for settings in (Settings(0.5), Settings(0.7, count=9), Settings(0.5, "other")):
        run(settings)
    assert count == ["plain", "other"]


def test_it_can_be_differentiated_and_mapped():
    slope = jax.grad(lambda s: s.rate**2, allow_int=True)(Settings(0.5))
    assert float(slope.rate) == 1
    stacked = jax.tree.map(lambda *leaf: jnp.stack(leaf), Settings(0.5), Settings(1.5))
    assert jax.vmap(lambda s: s.rate * s.count)(stacked).tolist() == [1.5, 4.5]


def test_it_survives_saving_and_keeps_its_options():
    assert pickle.loads(pickle.dumps(Settings(0.5, "other"))) == Settings(0.5, "other")

    @pytree(eq=False)
    class ByIdentity:
        value: float

    assert ByIdentity(1.0) != ByIdentity(1.0)
    assert jax.tree.leaves(ByIdentity(1.0)) == [1.0]
