"""The available methods, by name and by the type of their settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from internal_inpaint.methods.base import Method
from internal_inpaint.methods.copying.config import CopyConfig
from internal_inpaint.methods.copying.method import CopyMethod
from internal_inpaint.methods.implicit.config import ImplicitConfig
from internal_inpaint.methods.implicit.method import ImplicitMethod

# By the name for ``--method``: the type of the settings, and a function that makes the method from them and options.
METHODS: dict[str, tuple[type, Callable[..., Method]]] = {
    "copy": (CopyConfig, CopyMethod),
    "implicit": (ImplicitConfig, ImplicitMethod),
}


def method_of(config: Any, **options: Any) -> Method:
    """Make the method that these settings belong to. Raises ``ValueError`` if there is none."""
    for kind, make in METHODS.values():
        if type(config) is kind:
            return make(config, **options)
    raise ValueError(f"no method has settings of the type {type(config).__name__}")
