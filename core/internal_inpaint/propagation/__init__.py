"""Roto one frame, get the rest: a matte for every frame from the mattes of one or a few."""

from internal_inpaint.propagation.config import PropagationConfig, default_budget
from internal_inpaint.propagation.propagate import is_found, propagate
from internal_inpaint.propagation.result import Propagated
from internal_inpaint.propagation.writer import MatteWriter

__all__ = [
    "MatteWriter",
    "Propagated",
    "PropagationConfig",
    "default_budget",
    "is_found",
    "propagate",
]
