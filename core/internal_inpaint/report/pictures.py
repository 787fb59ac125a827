"""Pictures for the page: reduced, sRGB-encoded, as data URIs."""

from __future__ import annotations

import base64

import cv2
import numpy as np

from internal_inpaint.report.contact_sheet import srgb_encoded
from internal_inpaint.resample import reduce_area

# From low to high: dark red, amber, pale yellow. They differ in lightness too, for readers who are colour-blind.
CONFIDENCE_COLOURS = np.array([[0.72, 0.05, 0.22], [0.95, 0.55, 0.10], [0.98, 0.95, 0.62]], np.float32)
CONFIDENCE_OPACITY = np.array([0.85, 0.65, 0.22], np.float32)
MATTE_COLOUR = (0.25, 0.62, 1.0)
MATTE_OPACITY = 0.5
OVERLAY_WIDTH = 640  # pixels at most: enough for a tint


def photograph(linear: np.ndarray, width: int, quality: int) -> str:
    """A scene-linear picture ``[H, W, 3]`` as a JPEG data URI, at most ``width`` pixels wide.

    The picture is reduced in linear light, then clipped to 0-1 and sRGB-encoded. ``quality`` is the JPEG's, 0 to 100.
    """
    usable = np.nan_to_num(np.asarray(linear, np.float32), nan=0.0, posinf=65504.0, neginf=0.0)
    small = reduced(np.clip(usable, 0, 65504), width)
    codes = np.round(srgb_encoded(small) * 255).astype(np.uint8)
    return _uri("jpeg", ".jpg", codes[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])


def matte_overlay(matte: np.ndarray, width: int = OVERLAY_WIDTH) -> str:
    """A matte ``[H, W]``, 0 to 1, as a PNG data URI: a transparent tint over the area that it covers."""
    alpha = MATTE_OPACITY * np.clip(reduced(np.asarray(matte, np.float32), width), 0, 1)
    return _tint(np.broadcast_to(np.array(MATTE_COLOUR, np.float32), (*alpha.shape, 3)), alpha)


def confidence_overlay(confidence: np.ndarray, matte: np.ndarray, width: int = OVERLAY_WIDTH) -> str:
    """Confidence ``[H, W]``, 0 to 1, as a PNG data URI: a tint in ``CONFIDENCE_COLOURS``, clear outside the matte."""
    values = np.clip(np.nan_to_num(reduced(np.asarray(confidence, np.float32), width)), 0, 1)
    covered = np.clip(reduced((np.asarray(matte) > 0).astype(np.float32), width), 0, 1)
    stops = np.linspace(0, 1, len(CONFIDENCE_COLOURS))
    colour = np.stack([np.interp(values, stops, channel) for channel in CONFIDENCE_COLOURS.T], axis=-1)
    return _tint(colour, np.interp(values, stops, CONFIDENCE_OPACITY) * covered)


def reduced(picture: np.ndarray, width: int) -> np.ndarray:
    """``[H, W, ...]`` float32, reduced by area to at most ``width`` pixels wide and four times as high."""
    height, wide = picture.shape[:2]
    scale = min(1.0, width / wide, 4 * width / height)
    if scale == 1.0:
        return picture
    size = max(1, round(height * scale)), max(1, round(wide * scale))
    return reduce_area(picture, size)


def _tint(colour: np.ndarray, alpha: np.ndarray) -> str:
    pixels = np.concatenate([colour[..., ::-1], alpha[..., None]], axis=-1)
    # 64 values are enough for a tint, and compress far better than 256.
    codes = (np.round(np.clip(pixels, 0, 1) * 63) * (255 / 63)).astype(np.uint8)
    codes[alpha <= 0] = 0
    return _uri("png", ".png", codes, [cv2.IMWRITE_PNG_COMPRESSION, 6])


def _uri(kind: str, extension: str, codes: np.ndarray, options: list[int]) -> str:
    done, encoded = cv2.imencode(extension, np.ascontiguousarray(codes), options)
    if not done:
        raise OSError(f"a picture could not be encoded as {kind}")
    return f"data:image/{kind};base64,{base64.b64encode(encoded.tobytes()).decode('ascii')}"
