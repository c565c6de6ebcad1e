"""Every module says what it exports, and exports what it says."""

import importlib
import pkgutil

import pytest

import crossfade

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(crossfade.__path__, "crossfade.")
    if not module.name.endswith("__main__")
)


@pytest.mark.parametrize("name", MODULES)
def test_all_is_there_and_true(name: str) -> None:
    module = importlib.import_module(name)
    exported = getattr(module, "__all__", None)
    if exported is None:
        assert hasattr(module, "__path__"), f"{name} has no __all__"
        return
    assert len(set(exported)) == len(exported)
    for item in exported:
        assert hasattr(module, item), f"{name}.{item}"
