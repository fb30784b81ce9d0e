"""Decoded frames to upright pictures with square pixels, in ordinary colours, of the size that is wanted.

Colour: the matrix is the frame's own; untagged pictures of 720 lines and more count as BT.709, smaller ones as BT.601,
as players do. PQ and HLG (HDR) are tone-mapped to SDR: `tone_map`. Anything else is taken as it is.
"""

import io
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import PIL.Image
from av.video.reformatter import ColorRange, Colorspace, ColorTrc, Interpolation
from numpy.typing import NDArray

DETECTION_WIDTH = 256
"""Width of the pictures in which cuts are looked for."""
HD_LINES = 720
UNSPECIFIED_MATRIX = 2
"""AVCOL_SPC_UNSPECIFIED."""
SDR_WHITE_NITS = 203.0
"""Reference white of HDR pictures, ITU-R BT.2408."""
PEAK_NITS = 1000.0
"""The brightest that keeps its drawing; beyond it is white."""


def upright_size(width: int, height: int, sample_aspect: Fraction, rotation: int) -> tuple[int, int]:
    """(width, height) of a frame as it is to be seen: square samples (the height stays), then rotated."""
    width = max(1, round(width * sample_aspect))
    return (height, width) if rotation % 180 else (width, height)


def fitted_size(width: int, height: int, longest_edge: int | None) -> tuple[int, int]:
    """(width, height) with the longest edge at most `longest_edge`, never larger than before; None or 0 keeps it."""
    if not longest_edge or max(width, height) <= longest_edge:
        return width, height
    factor = longest_edge / max(width, height)
    return max(1, round(width * factor)), max(1, round(height * factor))


def detection_lines(width: int, height: int) -> int:
    """Height of the picture in which cuts are looked for, for a movie of width x height pixels."""
    return min(max(32, round(DETECTION_WIDTH * height / width)), 4 * DETECTION_WIDTH)


def detection_picture(frame: Any, lines: int) -> NDArray[np.uint8]:
    """A frame as the shot detectors want it: (lines, DETECTION_WIDTH, 3) uint8, BGR, as stored (not rotated)."""
    small = frame.reformat(
        width=DETECTION_WIDTH, height=lines, format="bgr24", interpolation=Interpolation.AREA, threads=1
    )
    return np.asarray(small.to_ndarray(), dtype=np.uint8)


def shrunk(frame: Any, size: tuple[int, int], rotation: int) -> Any:
    """A frame of the size it will be stored in, not yet rotated, in its own pixel format; to hold it in less memory."""
    width, height = _before_rotation(size, rotation)
    return frame.reformat(width=width, height=height, interpolation=Interpolation.BICUBIC, threads=1)


def picture(frame: Any, size: tuple[int, int], rotation: int, matrix: int | None = None) -> NDArray[np.uint8]:
    """A frame as a picture, upright: (height, width, 3) uint8, RGB.

    `size` is (width, height) after rotation, `matrix` what `matrix_of` says.
    """
    width, height = _before_rotation(size, rotation)
    hdr = frame.color_trc in (ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67)
    pixels = frame.reformat(
        width=width,
        height=height,
        format="rgb48le" if hdr else "rgb24",
        src_colorspace=matrix,
        dst_color_range=ColorRange.JPEG,
        interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT,
        threads=1,
    ).to_ndarray()
    if hdr:
        pixels = tone_map(pixels, hlg=frame.color_trc == ColorTrc.ARIB_STD_B67)
    return np.ascontiguousarray(np.rot90(pixels, k=rotation // 90))


def _before_rotation(size: tuple[int, int], rotation: int) -> tuple[int, int]:
    return (size[1], size[0]) if rotation % 180 else size


def matrix_of(frame: Any) -> int | None:
    """How the frame's YUV is to be read where it does not say itself, as one of PyAV's colour spaces; else None."""
    if frame.colorspace != UNSPECIFIED_MATRIX:
        return None  # the frame's own
    return int(Colorspace.ITU709 if frame.height >= HD_LINES else Colorspace.ITU601)


def jpeg(pixels: NDArray[np.uint8], quality: int) -> bytes:
    """RGB pixels as a JPEG file."""
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def tone_map(pixels: NDArray[np.uint16], *, hlg: bool) -> NDArray[np.uint8]:
    """HDR pixels (height, width, 3), 16 bits a channel, BT.2020, to SDR: uint8, BT.709 primaries, sRGB curve.

    Light: PQ by SMPTE ST 2084's curve in nits, HLG by BT.2100's for a display of 1,000 nits. It is scaled so that
    reference white (203 nits, BT.2408) is 1, the brightest channel is compressed by Reinhard's extended curve with
    1,000 nits as white, and the two others follow in proportion, so hues stay.
    """
    light = _light_of_codes(hlg)[pixels] / SDR_WHITE_NITS
    if hlg:  # BT.2100's system gamma of 1.2: light grows with luminance
        luminance = light @ np.array([0.2627, 0.6780, 0.0593], dtype=np.float32)
        light = light * (np.maximum(luminance, 1e-6) * SDR_WHITE_NITS / PEAK_NITS)[..., None] ** 0.2
    light = np.maximum(light @ _BT2020_TO_BT709.T, 0)
    peak = np.maximum(light.max(axis=-1, keepdims=True), 1e-6)
    mapped = peak * (1 + peak / (PEAK_NITS / SDR_WHITE_NITS) ** 2) / (1 + peak)
    linear = np.clip(light * (mapped / peak), 0, 1)
    curve = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(np.rint(curve * 255), dtype=np.uint8)


_BT2020_TO_BT709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], dtype=np.float32
)
"""ITU-R BT.2087, linear light."""


@cache
def _light_of_codes(hlg: bool) -> NDArray[np.float32]:
    """Light in nits of each of the 65,536 code values."""
    codes = np.arange(65536, dtype=np.float64) / 65535
    if hlg:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        scene = np.where(codes <= 0.5, codes**2 / 3, (np.exp((codes - c) / a) + b) / 12)
        return (scene * PEAK_NITS).astype(np.float32)
    m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
    power = codes ** (1 / m2)
    return (10000 * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1)).astype(np.float32)
