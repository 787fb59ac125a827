"""One-frame roto: a matte for every frame from the mattes of one or a few frames."""

from internal_inpaint.roto.config import RotoConfig, default_budget
from internal_inpaint.roto.propagate import propagate
from internal_inpaint.roto.result import Propagated
from internal_inpaint.roto.writer import MatteWriter

__all__ = [
    "MatteWriter",
    "Propagated",
    "RotoConfig",
    "default_budget",
    "propagate",
]
