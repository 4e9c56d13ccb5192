"""A grid of small pictures as one small JPEG file: rows of a picture and those that belong to it."""

from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

CELL_PIXELS = 96
"""The side of a cell, within which a picture keeps its proportions."""
MAX_GRID_BYTES = 48_000
"""The maximum number of bytes of a grid. As text, which Dagster's event log stores, it has a third more: 64,000."""

MARGIN_PIXELS = 4
"""The space around a cell."""
GAP_PIXELS = 12
"""The further space between the first cell of a row and the others."""

# The first one is that of most pictures; 24 cells of noise, which compresses worst, need the last ones.
_QUALITIES = (85, 70, 50, 30, 15)
_BACKGROUND = "white"
_EMPTY = "#dddddd"


def cell_place(row: int, column: int) -> tuple[int, int]:
    """Return the left and upper end of a cell, in pixels."""
    step = CELL_PIXELS + MARGIN_PIXELS
    return MARGIN_PIXELS + column * step + (GAP_PIXELS if column else 0), MARGIN_PIXELS + row * step


def picture_grid(rows: "Sequence[Sequence[Image | None]]") -> bytes:
    """Return pictures as a grid, as the content of a JPEG file of at most `MAX_GRID_BYTES`.

    Args:
        rows: The pictures of each row, RGB and not larger than a cell; None for a gray cell. One row or more, each with
            one picture or more.
    """
    from PIL import Image

    width, height = cell_place(len(rows), max(map(len, rows)))
    grid = Image.new("RGB", (width, height), _BACKGROUND)
    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            left, top = cell_place(row, column)
            if picture is None:
                grid.paste(_EMPTY, (left, top, left + CELL_PIXELS, top + CELL_PIXELS))
            else:
                grid.paste(
                    picture, (left + (CELL_PIXELS - picture.width) // 2, top + (CELL_PIXELS - picture.height) // 2)
                )
    return _small_jpeg(grid)


def _small_jpeg(grid: Any) -> bytes:
    while True:
        for quality in _QUALITIES:
            buffer = BytesIO()
            grid.save(buffer, "JPEG", quality=quality, optimize=True)
            if buffer.tell() <= MAX_GRID_BYTES:
                return buffer.getvalue()
        grid = grid.reduce(2)
