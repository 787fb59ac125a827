"""Colour conversion: from file values to scene-linear with OpenColorIO, and from scene-linear to the working space.

The network sees the working space: the ACEScct curve (Academy S-2016-001), mirrored for negative values and scaled so
that the shot's own range is [-1, 1]. No conversion clips values.
"""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import PyOpenColorIO as ocio

from internal_inpaint.errors import BadInput

# ACEScct, S-2016-001: a line below the break, a logarithm above it.
LINEAR_BREAK = 0.0078125
CURVE_BREAK = 0.155251141552511
SLOPE = 10.5402377416545
OFFSET = 0.0729055341958355
LOG_OFFSET = 9.72
LOG_SCALE = 17.52

# Margin at both ends of the working range, as a share of it. A fill may be slightly brighter or darker than all known
# pixels, and the network's last layer works best away from the ends of its range.
_MARGIN = 0.02

_BUILT_IN_CONFIG = "ocio://default"
# The sRGB texture space under the names that public configs give it, then the roles that mean it.
_TEXTURE_SPACES = ("srgb_tx", "sRGB - Texture", "sRGB Encoded Rec.709 (sRGB)", "sRGB", "texture_paint")


def curve(linear: np.ndarray) -> np.ndarray:
    """Scene-linear to the mirrored ACEScct curve: f(x) for x >= 0, 2 f(0) - f(-x) below."""
    magnitude = np.abs(linear)
    with np.errstate(divide="ignore"):
        logarithmic = (np.log2(magnitude) + LOG_OFFSET) / LOG_SCALE - OFFSET
    above_zero = np.where(magnitude <= LINEAR_BREAK, magnitude * SLOPE, logarithmic)
    return OFFSET + np.copysign(above_zero, linear)


def inverse_curve(value: np.ndarray) -> np.ndarray:
    """The exact inverse of `curve`."""
    from_zero = value - OFFSET
    magnitude = np.abs(from_zero)
    logarithmic = np.exp2((magnitude + OFFSET) * LOG_SCALE - LOG_OFFSET)
    linear = np.where(magnitude <= CURVE_BREAK - OFFSET, magnitude / SLOPE, logarithmic)
    return np.copysign(linear, from_zero)


@dataclass(frozen=True)
class WorkingSpace:
    """The shot's working space. `low` and `high` are the curve values that map to -1 and 1."""

    low: float
    high: float

    @classmethod
    def for_range(cls, min_linear: float, max_linear: float) -> WorkingSpace:
        """The space of a shot whose finite known pixels lie in [min_linear, max_linear]."""
        low, high = (float(curve(np.float64(value))) for value in (min_linear, max_linear))
        # A shot of one flat value still needs a range to divide by.
        margin = max(_MARGIN * (high - low), 0.01)
        return cls(low - margin, high + margin)

    @property
    def scale(self) -> float:
        """Working units per unit of the curve."""
        return 2.0 / (self.high - self.low)

    def from_curve(self, value: np.ndarray) -> np.ndarray:
        """Curve values to working values."""
        return ((value - 0.5 * (self.low + self.high)) * self.scale).astype(np.float32)

    def to_curve(self, working: np.ndarray) -> np.ndarray:
        """Working values to curve values."""
        return np.asarray(working, np.float32) / np.float32(self.scale) + np.float32(0.5 * (self.low + self.high))

    def to_working(self, linear: np.ndarray) -> np.ndarray:
        """Scene-linear of any shape to float32 working values: [-1, 1] over the shot's range."""
        return self.from_curve(curve(np.asarray(linear, np.float32)))

    def to_linear(self, working: np.ndarray) -> np.ndarray:
        """Working values of any shape back to float32 scene-linear."""
        return inverse_curve(self.to_curve(working)).astype(np.float32)


class Colour:
    """Converts between a file's own colour space and scene-linear.

    `colorspace` is a name or role of the OpenColorIO config ($OCIO, else the built-in ACES config). With None,
    'float' files are scene_linear. 'integer' files are in the space that the file's metadata names (`hint`, for
    example in a DPX) if the config has it, else in the config's sRGB texture space. Input and output are float32 RGB;
    integers are scaled to 0..1.
    """

    def __init__(self, colorspace: str | None, file_kind: str, hint: str = ""):
        """`file_kind` is 'float' or 'integer'. Raises BadInput for an unknown colour space or config."""
        self._config = _config()
        if self._config.getColorSpace(ocio.ROLE_SCENE_LINEAR) is None:
            raise BadInput("the OpenColorIO config has no scene_linear role; use a config that defines it")
        self.name = self._resolve(colorspace, file_kind, hint)
        linear = self._config.getColorSpace(ocio.ROLE_SCENE_LINEAR).getName()
        self.is_identity = self.name == linear
        if not self.is_identity:
            self._forward = self._processor(self.name, linear)
            self._backward = self._processor(linear, self.name)

    def to_scene_linear(self, rgb: np.ndarray) -> np.ndarray:
        """float32 [..., 3] in the file's space to scene-linear; the same bits when it is scene-linear."""
        return rgb if self.is_identity else self._apply(self._forward, rgb)

    def from_scene_linear(self, rgb: np.ndarray) -> np.ndarray:
        """float32 [..., 3] scene-linear to the file's space."""
        return rgb if self.is_identity else self._apply(self._backward, rgb)

    def _resolve(self, colorspace: str | None, file_kind: str, hint: str) -> str:
        if colorspace is None:
            candidates = [ocio.ROLE_SCENE_LINEAR] if file_kind == "float" else [hint, *_TEXTURE_SPACES]
            for name in filter(None, candidates):
                if space := self._config.getColorSpace(name):
                    return space.getName()
            raise BadInput("the OpenColorIO config has no sRGB texture space; name the plate's with --colorspace")
        if space := self._config.getColorSpace(colorspace):
            return space.getName()
        known = [*self._config.getColorSpaceNames(), *(role for role, _ in self._config.getRoles())]
        folded = {name.lower(): name for name in known}
        close = difflib.get_close_matches(colorspace.lower(), folded, n=4, cutoff=0.3) or list(folded)[:4]
        names = ", ".join(folded[name] for name in close)
        raise BadInput(f"--colorspace {colorspace} is not in the OpenColorIO config; similar names are {names}")

    def _processor(self, source: str, target: str) -> ocio.CPUProcessor:
        try:
            return self._config.getProcessor(source, target).getDefaultCPUProcessor()
        except (ocio.Exception, ocio.ExceptionMissingFile) as error:
            raise BadInput(
                f"OpenColorIO cannot convert {source} to {target} ({str(error).splitlines()[0]}); "
                f"choose another --colorspace"
            ) from error

    @staticmethod
    def _apply(processor: ocio.CPUProcessor, rgb: np.ndarray) -> np.ndarray:
        converted = np.array(rgb, np.float32, order="C")
        if converted.size:
            processor.applyRGB(converted.reshape(-1, 3))
        return converted


@lru_cache(maxsize=4)
def _load_config(source: str) -> ocio.Config:
    try:
        return ocio.Config.CreateFromFile(source)
    except (ocio.Exception, ocio.ExceptionMissingFile) as error:
        reason = str(error).splitlines()[0]
        raise BadInput(f"the OpenColorIO config {source} cannot be read ({reason}); check $OCIO") from error


def _config() -> ocio.Config:
    """The config of $OCIO, else OpenColorIO's built-in ACES config."""
    return _load_config(os.environ.get("OCIO") or _BUILT_IN_CONFIG)
