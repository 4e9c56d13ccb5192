"""Small generated pictures, in the modes and formats that occur in tables, as the content of image files."""

import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np


def scene(number: int, width: int = 48, height: int = 40) -> Any:
    """Return a picture of Pillow: a sky, a ground and a disc, of colors and sizes that depend on the number."""
    from PIL import Image

    random = np.random.default_rng(number)
    sky, ground, disc = random.integers(0, 256, (3, 3))
    rows, columns = np.mgrid[0:height, 0:width]
    pixels = np.where((rows < height * random.uniform(0.3, 0.7))[..., None], sky, ground)
    center = random.uniform(0.2, 0.8, 2) * (height, width)
    inside = (rows - center[0]) ** 2 + (columns - center[1]) ** 2 < (height * random.uniform(0.1, 0.4)) ** 2
    return Image.fromarray(np.where(inside[..., None], disc, pixels).astype(np.uint8), "RGB")


def content(picture: Any, file_format: str = "PNG", **options: Any) -> bytes:
    """Return a picture as the content of a file."""
    buffer = io.BytesIO()
    picture.save(buffer, file_format, **options)
    return buffer.getvalue()


def in_all_modes(number: int, width: int = 48, height: int = 40) -> Iterator[tuple[str, bytes]]:
    """Yield the name of a mode and a scene in it."""
    from PIL import Image

    picture = scene(number, width, height)
    yield "RGB", content(picture)
    yield "JPEG", content(picture, "JPEG", quality=95, subsampling=0)
    yield "progressive JPEG", content(picture, "JPEG", quality=95, subsampling=0, progressive=True)
    yield "CMYK", content(picture.convert("CMYK"), "JPEG", quality=95, subsampling=0)
    yield "gray", content(picture.convert("L"))
    yield "black and white", content(picture.convert("1"))
    yield "palette", content(picture.convert("P"), "GIF")
    transparent = picture.copy()
    transparent.putalpha(128)
    yield "transparent", content(transparent)
    yield "WebP", content(picture, "WEBP", lossless=True)
    deep = (np.asarray(picture.convert("L")).astype(np.uint16) * 257).astype(np.uint16)
    yield "16-bit", content(Image.fromarray(deep))
    yield "animation", content(picture, "GIF", save_all=True, append_images=[scene(number + 1, width, height)])


def as_shown(number: int, mode: str, width: int = 48, height: int = 40) -> Any:
    """Return the picture that a file of `in_all_modes` shows, up to what its format loses."""
    from PIL import Image

    picture = scene(number, width, height)
    if mode in ("gray", "16-bit"):
        return picture.convert("L").convert("RGB")
    if mode == "black and white":
        return picture.convert("1").convert("RGB")
    return (
        Image.blend(Image.new("RGB", picture.size, "white"), picture, 128 / 255) if mode == "transparent" else picture
    )


def rotated_by_camera(number: int, width: int = 48, height: int = 40) -> tuple[bytes, Any]:
    """Return a file that is to be shown rotated, and the picture that is shown."""
    from PIL import Image

    picture = scene(number, width, height)
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = picture.transpose(Image.Transpose.ROTATE_90)
    return content(stored, "PNG", exif=exif), picture


def damaged() -> Iterator[tuple[bytes, str]]:
    """Yield the content of a file that is no usable picture, and the reason of its rejection."""
    for number in range(6):
        jpeg = content(scene(number, 200, 200), "JPEG")
        yield jpeg[: len(jpeg) // (2 + number)], "damaged"
        png = content(scene(number, 200, 200))
        yield png[: len(png) // (2 + number)], "damaged"
    for number in range(6):
        yield bytes([number, 1, 2, 3]) * 50, "unsupported_format"
    yield b"", "empty"
    yield bomb(), "too_many_pixels"


def bomb() -> bytes:
    """Return a PNG file of a few kilobytes that decodes to 10 billion pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    data = zlib.compress(b"\0" * 1_000_000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
