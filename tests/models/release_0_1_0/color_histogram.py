"""Images by their colours: a model without weights, and the example of one whose input is not text."""

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import numpy as np

from crdbvec_pipelines.encoding import ModelError

_LEVELS = 4


def embedding_label() -> str:
    """Return one line for the list of models."""
    return "Colour histogram of images (no weights)"


def embedding_description() -> str:
    """Return what a user has to know to choose this model."""
    return (
        "Distribution of an image's colours, for finding images that look alike at a glance. The input is the content "
        "of an image file in a BYTEA column, in any format that Pillow reads; transparent parts count as white. Gives "
        "64-dimensional float vectors of length 1: one number for each cell of a 4x4x4 grid over red, green and blue. "
        "Search with the path of an image file. It knows nothing of what an image shows."
    )


def embedding_dim() -> int:
    """Return the number of cells of the colour grid."""
    return _LEVELS**3


def embedding_metric() -> str:
    """Return cosine: the share of colours matters, not the number of pixels."""
    return "cosine"


def embedding_id() -> str:
    """Return the histogram's shape and version; the version changes when the same image would give another vector."""
    return "color_histogram-rgb-4x4x4-l2-v1"


def embedding_is_thread_safe() -> bool:
    """Say yes: nothing is shared between calls, and Pillow decodes without holding up other threads."""
    return True


def embedding_encode(input_data: Any, verbose: bool = False) -> list[float]:
    """Return the histogram of an image.

    Args:
        input_data: The image file's content, as bytes or memoryview.
        verbose: Unused.

    Raises:
        ValueError: The bytes are no image, or a damaged one.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(input_data)) as opened:
            image = opened.convert("RGBA")
    except OSError as error:
        # Pillow reports a damaged file as an OSError, which would look like trouble with the machine.
        raise ValueError("The input is not an image that Pillow can read.") from error
    white = Image.new("RGBA", image.size, "white")
    pixels = np.asarray(Image.alpha_composite(white, image).convert("RGB")).reshape(-1, 3) // (256 // _LEVELS)
    cells = pixels @ np.array([_LEVELS**2, _LEVELS, 1])
    counts = np.bincount(cells, minlength=_LEVELS**3).astype(np.float64)
    return cast("list[float]", (counts / np.linalg.norm(counts)).tolist())


def embedding_encode_batch(
    batch_index: int, batch: Iterable[tuple[Any, Any]], verbose: bool = False
) -> list[tuple[Any, list[float]]]:
    """Return (key, histogram) pairs for (key, image) pairs."""
    return [(key, embedding_encode(image, verbose)) for key, image in batch]


def embedding_encode_query(text: str) -> list[float]:
    """Return the histogram of the image file at a path: a search by words would make no sense here.

    Raises:
        ModelError: There is no such file, or it is no image.
    """
    try:
        return embedding_encode(Path(text).expanduser().read_bytes())
    except OSError as error:
        raise ModelError(
            "The model color_histogram searches by image: give the path of an image file that exists and can be read."
        ) from error
    except ValueError as error:
        raise ModelError("The model color_histogram searches by image, and the file given is not one.") from error
