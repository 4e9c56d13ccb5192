"""Color histogram of images: a model without weights, and an example of a model whose input is not text."""

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import numpy as np

from crdbvec_pipelines.encoding import ModelError

# Levels per color channel; 4x4x4 cells.
_LEVELS = 4


def embedding_label() -> str:
    """Return the line that the list of models shows."""
    return "Color histogram of images (no weights)"


def embedding_description() -> str:
    """Return purpose, input, dimension and limits."""
    return (
        "Distribution of the colors of an image, for finding images with similar colors. The input is the content of "
        "an image file in a BYTEA column, in any format that Pillow reads; transparent areas count as white. Produces "
        "64-dimensional float vectors of length 1: one number for each cell of a 4x4x4 grid over red, green and blue. "
        "A search query is the path of an image file. The content of the image is not recognized."
    )


def embedding_dim() -> int:
    """Return the number of cells of the color grid."""
    return _LEVELS**3


def embedding_metric() -> str:
    """Return `cosine`, which compares the proportions of the colors and not the number of pixels."""
    return "cosine"


def embedding_id() -> str:
    """Return the shape and the version of the histogram; a change of the vectors requires a new version."""
    return "color_histogram-rgb-4x4x4-l2-v1"


def embedding_is_thread_safe() -> bool:
    """Return True: calls share no state, and Pillow releases the GIL while it decodes."""
    return True


def embedding_encode(input_data: Any, verbose: bool = False) -> list[float]:
    """Return the histogram of an image.

    Args:
        input_data: The content of the image file, as bytes or memoryview.
        verbose: Unused.

    Raises:
        ValueError: The bytes are not an image, or the image is damaged.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(input_data)) as opened:
            image = opened.convert("RGBA")
    except OSError as error:
        # Pillow raises OSError for a damaged image. The encoder would treat it as an unavailable model.
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
    """Return the histogram of the image file at a path; the model does not support text queries.

    Raises:
        ModelError: The file does not exist, cannot be read, or is not an image.
    """
    try:
        return embedding_encode(Path(text).expanduser().read_bytes())
    except OSError as error:
        raise ModelError(
            "The query of the model color_histogram must be the path of an image file that exists and can be read."
        ) from error
    except ValueError as error:
        raise ModelError(
            "The file is not an image. The query of the model color_histogram must be the path of an image file."
        ) from error
