"""The pictures that the inputs of rows are, or name: read, judged and decoded, one at a time."""

import threading
from typing import TYPE_CHECKING

from crdbvec_pipelines.encoding.picture_locations import PictureLocations
from crdbvec_pipelines.encoding.picture_summary import PictureSize
from crdbvec_pipelines.encoding.pictures import DEFAULT_SIDE, MAX_PIXELS, read_picture

if TYPE_CHECKING:
    from PIL.Image import Image


class PictureInputs:
    """Reads the pictures of one model; safe to call from several threads.

    Args:
        max_pixels: The maximum number of pixels that are decoded.
        locations: Where texts find pictures; None if no text names a picture. Then no text is opened.
    """

    def __init__(self, max_pixels: int = MAX_PIXELS, locations: PictureLocations | None = None) -> None:
        self._max_pixels = max_pixels
        self.locations = locations
        # Two large pictures would otherwise be in memory at the same time.
        self._decoding = threading.Lock()

    def read(self, value: object, side: int = DEFAULT_SIDE) -> "tuple[Image, str, PictureSize]":
        """Return the picture of an input as a model reads it, its format, and its size before it is reduced.

        Args:
            value: The content of an image file, or a text that names one.
            side: The longest side of the returned picture.

        Returns:
            A picture of the mode RGB; transparent areas are white.

        Raises:
            InputRejected: The input is no usable picture, or names one that cannot be read.
            OSError: An allowed folder cannot be read.
        """
        from PIL import Image

        content = self.locations.read(value) if isinstance(value, str) and self.locations is not None else value
        with self._decoding:
            picture, file_format, size = read_picture(content, side=side, max_pixels=self._max_pixels)
        white = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(white, picture).convert("RGB"), file_format, size
