"""Progress of work that goes through the frames of a shot."""

from __future__ import annotations

from collections.abc import Callable

from internal_inpaint.errors import Stopped


class ProgressReporter:
    """Reports progress at each frame, and stops the work on request.

    Args:
        frames: how many there are.
        progress: called with (frames done, all frames).
        should_stop: called at every call.
        doing: names the work in the message of a stop, for example "filling the holes".
        passes: how often the work goes through the frames.
    """

    def __init__(
        self,
        frames: int,
        progress: Callable[[int, int], None] | None,
        should_stop: Callable[[], bool] | None,
        doing: str,
        passes: int = 1,
    ) -> None:
        self._frames, self._passes, self._doing = frames, passes, doing
        self._progress, self._should_stop, self._done = progress, should_stop, 0

    def __call__(self) -> None:
        """Call this at each frame of each pass.

        Raises:
            Stopped: on request.
        """
        if self._should_stop and self._should_stop():
            raise Stopped(f"stopped while {self._doing}; run the same command again to continue")
        if self._progress:
            self._progress(self._done // self._passes, self._frames)
        self._done += 1
