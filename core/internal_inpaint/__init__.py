"""Internal Inpaint: removes objects from a shot with a network trained on that one shot."""

from internal_inpaint.spinning import set_block_time
from internal_inpaint.version import __version__

__all__ = ["__version__"]

set_block_time()  # before anything here imports PyTorch, which loads OpenMP
