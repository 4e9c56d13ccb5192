"""Color histogram of images: a model without weights, and an example of a model whose input is not text."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from crdbvec_pipelines.encoding import InputRejected, ModelError
from crdbvec_pipelines.encoding.pictures import MAX_PIXELS, decode_picture

# Levels per color channel; 4x4x4 cells.
_LEVELS = 4

_settings = {"max_pixels": MAX_PIXELS}


def embedding_label() -> str:
    """Return the line that the list of models shows."""
    return "Color histogram of images (no weights)"


def embedding_description() -> str:
    """Return purpose, input, dimension and limits."""
    return (
        "Distribution of the colors of an image, for finding images with similar colors. The input is the content of "
        "an image file in a BYTEA column, in any format that Pillow decodes; of an animation, the first frame is used. "
        "Transparent areas count as white. An image of more than 50 million pixels is rejected, unless it is a JPEG "
        "file, which is reduced while it is decoded; the setting max_pixels changes the limit. Produces 64-dimensional "
        "float vectors of length 1: one number for each cell of a 4x4x4 grid over red, green and blue. A search query "
        "is the path of an image file. The content of the image is not recognized."
    )


def embedding_dim() -> int:
    """Return the number of cells of the color grid."""
    return _LEVELS**3


def embedding_metric() -> str:
    """Return `cosine`, which compares the proportions of the colors and not the number of pixels."""
    return "cosine"


def embedding_id() -> str:
    """Return the shape and the version of the histogram; a change of the vectors requires a new version.

    Two changes since release 0.1.0 have kept the version, so that no other image is encoded again: images of more than
    8 bits per channel were white or black, and large images are reduced, which changes their histograms very little.
    """
    return "color_histogram-rgb-4x4x4-l2-v1"


def embedding_is_thread_safe() -> bool:
    """Return True: calls share no state that changes, and Pillow releases the GIL while it decodes."""
    return True


def embedding_configure(settings: Mapping[str, object]) -> None:
    """Receive the setting `max_pixels`, the maximum number of pixels that are decoded.

    Raises:
        ModelError: A setting is unknown, or its value is invalid.
    """
    unknown = sorted(set(settings) - set(_settings))
    if unknown:
        raise ModelError(f"The model color_histogram has no setting `{unknown[0]}`. Its setting is `max_pixels`.")
    value = settings.get("max_pixels", MAX_PIXELS)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ModelError("The setting `max_pixels` of the model color_histogram must be an integer of 1 or more.")
    _settings["max_pixels"] = value


def embedding_encode(input_data: Any, verbose: bool = False) -> list[float]:
    """Return the histogram of an image.

    Args:
        input_data: The content of the image file, as bytes or memoryview.
        verbose: Unused.

    Raises:
        InputRejected: The bytes are not an image, the image is damaged, or it has too many pixels.
    """
    from PIL import Image

    image = decode_picture(input_data, max_pixels=_settings["max_pixels"])
    white = Image.new("RGBA", image.size, "white")
    levels = np.asarray(Image.alpha_composite(white, image))[..., :3] // (256 // _LEVELS)
    cells = levels[..., 0] * _LEVELS**2 + levels[..., 1] * _LEVELS + levels[..., 2]
    counts = np.bincount(cells.ravel(), minlength=_LEVELS**3).astype(np.float64)
    return cast("list[float]", (counts / np.linalg.norm(counts)).tolist())


def embedding_encode_batch(
    batch_index: int, batch: Iterable[tuple[Any, Any]], verbose: bool = False
) -> list[tuple[Any, list[float] | InputRejected]]:
    """Return (key, histogram) pairs for (key, image) pairs, with an error in place of the histogram if there is one."""
    results: list[tuple[Any, list[float] | InputRejected]] = []
    for key, image in batch:
        try:
            results.append((key, embedding_encode(image, verbose)))
        except InputRejected as error:
            results.append((key, error))
    return results


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
    except InputRejected as error:
        raise ModelError(
            "The file is not an image that can be decoded. The query of the model color_histogram must be the path of "
            f"an image file. {error}"
        ) from error
