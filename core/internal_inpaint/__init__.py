"""Internal Inpaint: removes objects from a shot with a network trained on that one shot."""

from internal_inpaint.threads import wait_passively
from internal_inpaint.version import __version__

__all__ = ["__version__"]

wait_passively()  # before anything here imports PyTorch, which loads OpenMP
