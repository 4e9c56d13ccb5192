"""Decoding pictures: every kind of number per pixel, animations, limits that apply before decoding, and reasons."""

import io
import os
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from crdbvec_pipelines.encoding.errors import InputRejected
from crdbvec_pipelines.encoding.pictures import decode_picture
from crdbvec_pipelines.encoding.reasons import Reason
from tests.support.processes import ROOT

# A gradient that uses only the darker half of the range, so that stretching it to the whole range would be noticed.
GRADIENT = np.add.outer(np.arange(40), np.arange(60)).astype(np.uint8)
BIG_SIDE = 10_000


def encoded(picture: Image.Image, file_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, file_format, **options)
    return buffer.getvalue()


def gray(data: bytes, **limits: int) -> NDArray[np.int16]:
    return np.asarray(decode_picture(data, **limits).convert("L")).astype(np.int16)


def blank_png(side: int) -> bytes:
    """Return a small PNG of one color with many pixels, which Pillow would take seconds and gigabytes to write."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")

    header = side.to_bytes(4, "big") * 2 + bytes([1, 0, 0, 0, 0])
    rows = zlib.compress((b"\0" * (1 + (side + 7) // 8)) * side, 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("values", "file_format"),
    [
        (GRADIENT.astype(np.uint16) * 257, "PNG"),
        (GRADIENT.astype(np.uint16) * 257, "TIFF"),
        (GRADIENT.astype(np.int32) * 257, "TIFF"),
        (GRADIENT.astype(np.float32) / 255, "TIFF"),
        (GRADIENT.astype(np.float32), "TIFF"),
        (GRADIENT.astype(np.float32) * 257, "TIFF"),
    ],
    ids=["uint16 png", "uint16 tiff", "int32 tiff", "float 0..1", "float 0..255", "float 0..65535"],
)
def test_numbers_of_any_size_are_the_same_picture_as_8_bits(values: NDArray[np.generic], file_format: str) -> None:
    found = gray(encoded(Image.fromarray(values), file_format))
    expected = gray(encoded(Image.fromarray(GRADIENT), "PNG"))
    # The conventional range 0..255 of floating-point numbers is ambiguous only for values up to 1.
    assert np.abs(found - expected).max() <= 1


def test_values_outside_of_every_usual_range_are_stretched() -> None:
    heights = GRADIENT.astype(np.float32) * 10 - 500
    found = gray(encoded(Image.fromarray(heights), "TIFF"))
    assert (found.min(), found.max()) == (0, 255)
    assert (np.diff(found[0]) >= 0).all()


def test_missing_numbers_are_black_and_the_others_keep_their_range() -> None:
    values = GRADIENT.astype(np.float32) / 255
    values[0, 0], values[0, 1], values[0, 2] = np.nan, np.inf, -np.inf
    found = gray(encoded(Image.fromarray(values), "TIFF"))
    assert found[0, :3].tolist() == [0, 255, 0]
    assert abs(int(found[20, 30]) - int(GRADIENT[20, 30])) <= 1


def test_large_16_bit_picture_is_reduced_in_its_range() -> None:
    values = np.full((1_000, 3_000), 32_768, np.uint16)
    found = decode_picture(encoded(Image.fromarray(values), "PNG"), side=100)
    assert max(found.size) == 100
    assert np.asarray(found.convert("L")).max() == 128


@pytest.mark.parametrize("file_format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_first_frame_of_an_animation_is_used(file_format: str) -> None:
    frames = [Image.new("RGB", (20, 20), color) for color in ("red", "blue", "blue")]
    options = {"lossless": True} if file_format == "WEBP" else {}
    data = encoded(frames[0], file_format, save_all=True, append_images=frames[1:], **options)
    assert decode_picture(data).getpixel((10, 10)) == (255, 0, 0, 255)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_picture_of_any_color_mode_is_decoded(mode: str) -> None:
    file_format = {"CMYK": "JPEG", "YCbCr": "JPEG"}.get(mode, "PNG")
    picture = decode_picture(encoded(Image.new("RGB", (50, 20), "white").convert(mode), file_format))
    assert (picture.mode, picture.size, picture.getpixel((1, 1))) == ("RGBA", (50, 20), (255, 255, 255, 255))


JPEG = encoded(Image.effect_noise((200, 200), 50).convert("RGB"), "JPEG")
PNG = encoded(Image.effect_noise((200, 200), 50), "PNG")
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"><rect width="10" height="10"/></svg>'


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (JPEG[: len(JPEG) // 2], Reason.DAMAGED),
        (JPEG[:20], Reason.DAMAGED),
        (PNG[: len(PNG) // 2], Reason.DAMAGED),
        (PNG[:20], Reason.DAMAGED),
        (PNG[:100] + bytes(50) + PNG[150:], Reason.DAMAGED),
        (SVG, Reason.UNSUPPORTED_FORMAT),
        (b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n", Reason.UNSUPPORTED_FORMAT),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n", Reason.UNSUPPORTED_FORMAT),
        (b"words, not a picture", Reason.UNSUPPORTED_FORMAT),
        (b"", Reason.EMPTY),
        (memoryview(b""), Reason.EMPTY),
        ("a path.png", Reason.WRONG_TYPE),
        (5, Reason.WRONG_TYPE),
        (blank_png(BIG_SIDE), Reason.TOO_MANY_PIXELS),
        # Pillow's own limit is reached, too.
        (blank_png(2 * BIG_SIDE), Reason.TOO_MANY_PIXELS),
    ],
)
def test_reason_of_a_rejection(data: object, reason: Reason) -> None:
    with pytest.raises(InputRejected) as caught:
        decode_picture(data)
    assert caught.value.reason is reason


def test_limit_applies_to_the_pixels_that_are_decoded() -> None:
    large = Image.new("RGB", (2_000, 2_000), "red")
    assert decode_picture(encoded(large, "JPEG"), side=200, max_pixels=300_000).size == (200, 200)
    for data in (encoded(large, "JPEG", progressive=True), encoded(large, "PNG")):
        with pytest.raises(InputRejected, match=r"2,000 x 2,000; 300,000 pixels"):
            decode_picture(data, side=200, max_pixels=300_000)


_MEASURE = """
import resource, sys
from PIL import Image
from crdbvec_pipelines.encoding import InputRejected, ModelRegistry
encoder = ModelRegistry().load("color_histogram")
import numpy, io
small = io.BytesIO(); Image.new("RGB", (8, 8)).save(small, "PNG"); encoder.encode([(0, small.getvalue())])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
data = sys.stdin.buffer.read()
try:
    encoder.encode([(1, data)])
except InputRejected:
    pass
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.parametrize(
    "picture",
    [
        lambda: blank_png(BIG_SIDE),
        lambda: blank_png(7_000),
        lambda: encoded(Image.new("L", (BIG_SIDE, BIG_SIDE)), "JPEG"),
        lambda: encoded(Image.fromarray(np.zeros((7_000, 7_000), np.uint16)), "PNG"),
    ],
    ids=["over the limit", "under the limit", "jpeg over the limit", "16 bits under the limit"],
)
def test_memory_of_one_picture_is_bounded(picture: Callable[[], bytes]) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE],
        input=picture(),
        capture_output=True,
        check=True,
        env=environment,
        cwd=Path(ROOT),
    )
    # 50 million pixels of at most 4 bytes, and as much again for copies.
    assert int(done.stdout) < 400
