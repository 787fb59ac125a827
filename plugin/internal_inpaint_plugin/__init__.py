"""The host side of Internal Inpaint: job folders and the worker process.

This package runs inside Nuke and Resolve. It uses Python 3.9 syntax and the standard library only, and imports
nothing from the engine. Host and engine communicate through the job folder alone (docs/job-folder.md).
"""

from internal_inpaint_plugin.errors import PluginError
from internal_inpaint_plugin.job_folder import (
    FORMAT,
    MAY_CHANGE,
    Status,
    ask_to_stop,
    read_job,
    read_status,
    write_job,
)
from internal_inpaint_plugin.run import Run, View, last_run, run_for
from internal_inpaint_plugin.worker import find_worker

__version__ = "0.1.0"
__all__ = [
    "FORMAT",
    "MAY_CHANGE",
    "PluginError",
    "Run",
    "Status",
    "View",
    "ask_to_stop",
    "find_worker",
    "last_run",
    "read_job",
    "read_status",
    "run_for",
    "write_job",
]
