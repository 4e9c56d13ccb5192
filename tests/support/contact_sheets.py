"""Which pictures a contact sheet shows: each cell is compared with the pictures that may be in it."""

from collections.abc import Hashable, Mapping, Sequence
from io import BytesIO
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from crdbvec_pipelines.search.picture_grid import CELL_PIXELS, cell_place

K = TypeVar("K", bound=Hashable)

# JPEG changes the mean color of a cell by less; those of two scenes differ by much more.
_MAX_DIFFERENCE = 4.0
_GRAY = 221
_EDGE = 16


def shown(grid: bytes, lengths: Sequence[int], pictures: Mapping[K, Any]) -> list[list[K | None]]:
    """Return the key of the picture in each cell; None for a gray cell.

    Args:
        grid: The sheet as a JPEG file.
        lengths: The number of cells of each row.
        pictures: All pictures by key, as Pillow opens them.
    """
    sheet = Image.open(BytesIO(grid))
    assert (sheet.format, sheet.mode) == ("JPEG", "RGB")
    means = {key: _cell(picture).mean(axis=(0, 1)) for key, picture in pictures.items()}
    pixels = {key: _cell(picture) for key, picture in pictures.items()}
    found: list[list[K | None]] = []
    for row, length in enumerate(lengths):
        found.append([])
        for column in range(length):
            left, top = cell_place(row, column)
            cell = np.asarray(sheet.crop((left, top, left + CELL_PIXELS, top + CELL_PIXELS)), np.float64)
            # JPEG changes the pixels at the edge of a cell.
            if np.abs(cell[_EDGE:-_EDGE, _EDGE:-_EDGE] - _GRAY).max() < _MAX_DIFFERENCE:
                found[-1].append(None)
                continue
            nearest = min(pixels, key=lambda key: float(np.abs(pixels[key] - cell).mean()))
            assert np.abs(means[nearest] - cell.mean(axis=(0, 1))).max() < _MAX_DIFFERENCE
            found[-1].append(nearest)
    return found


def _cell(picture: Any) -> Any:
    cell = Image.new("RGB", (CELL_PIXELS, CELL_PIXELS), "white")
    small = picture.convert("RGB")
    small.thumbnail(cell.size)
    cell.paste(small, ((CELL_PIXELS - small.width) // 2, (CELL_PIXELS - small.height) // 2))
    return np.asarray(cell, np.float64)
