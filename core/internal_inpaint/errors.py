"""What can go wrong for a user, and the exit code each kind ends with.

Every message is one sentence that names the file, frame or option and says what to do;
the command line prints it as the last line on stderr, without a traceback.
"""

from __future__ import annotations


class InpaintError(Exception):
    """Base of everything that is told to the user instead of being a bug."""

    exit_code = 1


class BadInput(InpaintError):
    """A file, frame, option or job that cannot be used as it is."""

    exit_code = 2


class Stopped(InpaintError):
    """The run was asked to stop and has saved its state; running it again goes on."""

    exit_code = 3


class OutOfResources(InpaintError):
    """The machine ran out of memory or disk."""

    exit_code = 4


class TrainingDiverged(InpaintError):
    """The loss stayed NaN or kept growing after several restarts with smaller steps."""

    exit_code = 1
