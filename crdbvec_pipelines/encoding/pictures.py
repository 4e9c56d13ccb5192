"""Decoding pictures of any format and size into small 8-bit RGBA pictures, for model wrappers whose input is a picture.

The input comes from users, so every picture is judged before it is decoded: its format, and the number of pixels that
decoding it takes. Reasons for a rejection are those of `encoding.reasons`. Pillow is imported with the first picture.
"""

import io
import warnings
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from crdbvec_pipelines.encoding.errors import InputRejected
from crdbvec_pipelines.encoding.picture_summary import PictureSize
from crdbvec_pipelines.encoding.reasons import Reason

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

MAX_PIXELS = 50_000_000
"""The maximum number of pixels to decode. At 4 bytes per pixel they take 200 MB while the picture is reduced."""

DEFAULT_SIDE = 1_024
"""The longest side of a decoded picture: more than the pixels that models of pictures use."""

# Pillow opens these formats but does not decode them itself: it runs another program, or requires a handler.
_NOT_DECODED = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"})
# How files begin whose formats Pillow supports completely. If it does not recognize such a file, the file is damaged.
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8")
# Modes with more than 8 bits per pixel and channel, which Pillow converts to 8 bits by clipping.
_DEEP_MODES = ("I", "F")
# The largest value of floating-point pictures by convention: shares, and numbers of 8 or 16 bits.
_FLOAT_LIMITS = (1.0, 255.0, 65_535.0)
_LIMIT_16_BITS = 65_535.0


def decode_picture(data: object, *, side: int = DEFAULT_SIDE, max_pixels: int = MAX_PIXELS) -> "Image":
    """Decode a picture: the first frame of an animation, the first page of a document.

    Pictures are reduced while they are decoded if their format permits that (JPEG), otherwise right after. Pictures
    with 16 bits or floating-point numbers per channel are converted by their range of values.

    Args:
        data: The content of the file: bytes, bytearray or memoryview.
        side: The longest side of the result. A smaller picture keeps its size.
        max_pixels: The maximum number of pixels to decode.

    Returns:
        A picture of the mode RGBA, rotated as its EXIF data says.

    Raises:
        InputRejected: The data is not a picture, is damaged, or has too many pixels.
    """
    return read_picture(data, side=side, max_pixels=max_pixels)[0]


def read_picture(
    data: object, *, side: int = DEFAULT_SIDE, max_pixels: int = MAX_PIXELS
) -> "tuple[Image, str, PictureSize]":
    """Decode a picture as `decode_picture` does, and return its format and its size, too."""
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise InputRejected(reason=Reason.WRONG_TYPE, detail=type(data).__name__)
    content = bytes(data)
    if not content:
        raise InputRejected(reason=Reason.EMPTY)
    with warnings.catch_warnings():
        # The number of pixels is checked here, by `max_pixels`.
        warnings.simplefilter("ignore")
        with _open(content) as opened:
            size = PictureSize(len(content), opened.width * opened.height)
            _judge(opened, side, max_pixels)
            file_format = str(opened.format)
            return _upright(_reduced(opened, side), _orientation(opened)), file_format, size


def _open(content: bytes) -> "ImageFile":
    """Read the header of a picture."""
    from PIL import Image, UnidentifiedImageError

    try:
        return Image.open(io.BytesIO(content))
    except Image.DecompressionBombError:
        raise InputRejected(reason=Reason.TOO_MANY_PIXELS) from None
    except UnidentifiedImageError:
        reason = Reason.DAMAGED if content.startswith(_SIGNATURES) else Reason.UNSUPPORTED_FORMAT
        raise InputRejected(reason=reason) from None
    except MemoryError:
        raise
    except Exception:
        # The plug-ins raise errors of many classes for a damaged header.
        raise InputRejected(reason=Reason.DAMAGED) from None


def _judge(opened: "ImageFile", side: int, max_pixels: int) -> None:
    """Raise an error for a picture that is not to be decoded."""
    if opened.format in _NOT_DECODED:
        raise InputRejected(reason=Reason.UNSUPPORTED_FORMAT, detail=str(opened.format))
    width, height = opened.size
    # A JPEG is decoded at a fraction of its size, unless it is progressive: then all of it is in memory.
    if opened.format == "JPEG" and "progressive" not in opened.info:
        opened.draft(None, (side, side))
    decoded_width, decoded_height = opened.size
    if decoded_width * decoded_height > max_pixels:
        raise InputRejected(
            reason=Reason.TOO_MANY_PIXELS, detail=f"{width:,} x {height:,}; {max_pixels:,} pixels are decoded at most"
        )


def _reduced(opened: "ImageFile", side: int) -> "Image":
    """Decode a picture and return it in 8 bits, reduced to `side`."""
    try:
        opened.load()
        picture = _with_8_bits(opened, side) if opened.mode.startswith(_DEEP_MODES) else opened
        # Reduced in its own mode: RGBA takes up to 32 times the memory. A palette has its transparency in `info`.
        picture.thumbnail((side, side))
        return picture.convert("RGBA")
    except MemoryError:
        raise
    except Exception:
        raise InputRejected(reason=Reason.DAMAGED) from None


def _orientation(opened: "ImageFile") -> int:
    """Return how a camera was held, as the number of the EXIF data; 1, which is upright, if it cannot be read."""
    from PIL.ExifTags import Base

    try:
        return int(opened.getexif().get(Base.Orientation, 1))
    except MemoryError:
        raise
    except Exception:
        # Damaged EXIF data does not prevent decoding the picture.
        return 1


def _upright(picture: "Image", orientation: int) -> "Image":
    """Return a picture as it was seen, from the orientation of its EXIF data."""
    from PIL.Image import Transpose

    changes = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    change = changes.get(orientation)
    return picture if change is None else picture.transpose(change)


def _with_8_bits(opened: "ImageFile", side: int) -> "Image":
    """Return a picture of 16-bit, 32-bit or floating-point numbers as one of 8 bits, at most twice as large as `side`.

    Rows and columns are left out, so that no copy of all pixels is made.
    """
    from PIL import Image

    step = max(1, max(opened.size) // (2 * side))
    values = np.asarray(opened)[::step, ::step].astype(np.float32)
    return Image.fromarray(_scaled(values, opened.mode, opened.format), "L")


def _scaled(values: NDArray[np.float32], mode: str, file_format: str | None) -> NDArray[np.uint8]:
    """Return values as numbers from 0 to 255, by the range that the picture's format or its values state.

    The range of a picture of unsigned 16-bit numbers is that of the numbers. The range of other pictures is the
    smallest usual one that contains all values, otherwise the one from their minimum to their maximum.
    """
    finite = np.isfinite(values)
    if not finite.any():
        raise ValueError("the picture has no finite value")
    low, high = float(values[finite].min()), float(values[finite].max())
    limits: tuple[float, ...] = _FLOAT_LIMITS if mode == "F" else (_LIMIT_16_BITS,)
    usual = [limit for limit in limits if low >= 0 and high <= limit]
    start, end = (0.0, usual[0]) if usual else (low, high)
    # Values that are not numbers mark missing pixels; they become black, infinite ones the nearest end of the range.
    values = np.nan_to_num(values, nan=start, posinf=end, neginf=start)
    scaled = np.clip((values - start) * (255.0 / ((end - start) or 1.0)), 0, 255)
    result: NDArray[np.uint8] = np.rint(scaled).astype(np.uint8)
    return result
