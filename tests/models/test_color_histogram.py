"""The wrapper color_histogram, whose inputs are images."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crdbvec_pipelines.encoding import Encoder, InputRejected, ModelError, ModelRegistry, Reason, RowsRejected


@pytest.fixture
def encoder(registry: ModelRegistry) -> Encoder:
    return registry.load("color_histogram")


def _image(color: str, file_format: str = "PNG", mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (8, 8), color).save(buffer, file_format)
    return buffer.getvalue()


def test_properties(encoder: Encoder) -> None:
    assert (encoder.dim, encoder.metric) == (64, "cosine")
    assert encoder.model_id == "color_histogram-rgb-4x4x4-l2-v1"


def test_bytes_and_memoryview_of_several_formats(encoder: Encoder) -> None:
    batch = [
        (1, _image("red")),
        (2, memoryview(_image("red", "BMP"))),
        (3, _image("blue", "GIF")),
        (4, _image("red", "JPEG")),
    ]
    vectors = encoder.encode(batch).vectors
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert vectors[0].argmax() == 3 * 16
    np.testing.assert_array_equal(vectors[0], vectors[1])
    assert vectors[0] @ vectors[2] == 0
    assert vectors[0] @ vectors[3] == pytest.approx(1)


def test_vector_contains_the_proportions_of_the_colors(encoder: Encoder) -> None:
    image = Image.new("RGB", (4, 4), "black")
    image.paste("white", (0, 0, 4, 1))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    (vector,) = encoder.encode([(1, buffer.getvalue())]).vectors
    assert vector[0] / vector[63] == pytest.approx(3)


def test_transparent_areas_count_as_white(encoder: Encoder) -> None:
    transparent = io.BytesIO()
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(transparent, "PNG")
    assert encoder.encode([(1, transparent.getvalue())]).vectors[0].argmax() == 63


@pytest.mark.parametrize("damaged", [b"", b"not an image", _image("red")[:-30], _image("red", "JPEG")[:300], "text", 5])
def test_damaged_image_is_rejected(encoder: Encoder, damaged: object) -> None:
    with pytest.raises(InputRejected):
        encoder.encode([(1, _image("red")), (2, damaged)])


def test_damaged_image_does_not_affect_the_others(encoder: Encoder) -> None:
    with pytest.raises(RowsRejected) as caught:
        encoder.encode([(1, _image("red")), (2, _image("red")[:-30]), (3, b""), (4, _image("blue"))])
    reasons = {position: failure.reason for position, failure in caught.value.failures.items()}
    assert reasons == {1: Reason.DAMAGED, 2: Reason.EMPTY}
    assert caught.value.encoded is not None
    np.testing.assert_array_equal(
        caught.value.encoded.vectors, encoder.encode([(1, _image("red")), (4, _image("blue"))]).vectors
    )


def test_16_bit_image_is_near_the_same_image_in_8_bits(encoder: Encoder) -> None:
    gray = np.add.outer(np.arange(100), np.arange(100)).astype(np.uint16)
    files = []
    for picture in (gray.astype(np.uint8), gray * 257, gray.astype(np.float32) / 255):
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "TIFF")
        files.append(buffer.getvalue())
    eight, sixteen, floating = encoder.encode(list(enumerate(files))).vectors
    assert (eight @ sixteen, eight @ floating) == (pytest.approx(1, abs=1e-3), pytest.approx(1, abs=1e-3))


def test_limit_of_pixels_is_a_setting() -> None:
    small = ModelRegistry(settings={"color_histogram": {"max_pixels": 63}}).load("color_histogram")
    with pytest.raises(RowsRejected, match="too_many_pixels"):
        small.encode([(1, _image("red"))])
    for settings in ({"max_pixels": 0}, {"max_pixels": "many"}, {"pixels": 5}):
        with pytest.raises(ModelError, match="max_pixels"):
            ModelRegistry(settings={"color_histogram": settings}).load("color_histogram")
    assert len(ModelRegistry().load("color_histogram").encode([(1, _image("red"))]).vectors) == 1


def test_query_is_the_path_of_an_image(encoder: Encoder, tmp_path: Path) -> None:
    path = tmp_path / "query.png"
    path.write_bytes(_image("blue"))
    np.testing.assert_array_equal(encoder.encode_query(str(path)), encoder.encode([(1, _image("blue"))]).vectors[0])


def test_text_query_is_rejected(encoder: Encoder, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="must be the path of an image file that exists"):
        encoder.encode_query("something blue")
    (tmp_path / "notes.txt").write_text("words")
    with pytest.raises(ModelError, match="The file is not an image that can be decoded"):
        encoder.encode_query(str(tmp_path / "notes.txt"))
