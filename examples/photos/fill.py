"""Create the table `photos` in the database of $CRDBVEC_URL and fill it with pictures.

Without arguments, the pictures are scenes that this script draws, so that no picture of a third party is needed: a sun,
a house, a tree or a boat, in several colors. With folders as arguments, they are the image files in these folders, such
as your own photos; each folder is one user. Pictures are stored as they are; `crdbvec embed` decodes them.
"""

import io
import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
from PIL import Image, ImageDraw

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
USERS = 3
SIZE = (320, 240)
SKIES = ("skyblue", "midnightblue", "orange", "lightgray")
GROUNDS = ("forestgreen", "sandybrown", "steelblue", "white")
COLORS = ("red", "gold", "purple")

CREATE = """
CREATE TABLE IF NOT EXISTS photos (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id INT8 NOT NULL,
    picture BYTEA NOT NULL
)
"""


def main() -> None:
    """Create the table and insert the pictures."""
    folders = [Path(argument) for argument in sys.argv[1:]]
    with psycopg.connect(os.environ["CRDBVEC_URL"], autocommit=True) as connection:
        connection.execute(CREATE)
        count = 0
        for user_id, picture in _of_folders(folders) if folders else _drawn():
            connection.execute("INSERT INTO photos (user_id, picture) VALUES (%s, %s)", [user_id, picture])
            count += 1
    print(f"{count} pictures inserted into photos")


def _of_folders(folders: list[Path]) -> Iterator[tuple[int, bytes]]:
    """Yield the image files of each folder, which is one user."""
    for user_id, folder in enumerate(folders, start=1):
        for file in sorted(folder.rglob("*")):
            if file.suffix.lower() in SUFFIXES and file.is_file():
                yield user_id, file.read_bytes()


def _drawn() -> Iterator[tuple[int, bytes]]:
    """Yield drawn scenes, the same ones in each run."""
    scenes = itertools.product((_sun, _house, _tree, _boat), SKIES, GROUNDS, COLORS)
    for number, (draw_thing, sky, ground, color) in enumerate(scenes):
        picture = Image.new("RGB", SIZE, sky)
        draw = ImageDraw.Draw(picture)
        draw.rectangle((0, SIZE[1] * 2 // 3, *SIZE), fill=ground)
        draw_thing(draw, color)
        content = io.BytesIO()
        picture.save(content, "JPEG", quality=90)
        yield 1 + number % USERS, content.getvalue()


def _sun(draw: ImageDraw.ImageDraw, color: str) -> None:
    draw.ellipse((200, 30, 270, 100), fill=color)


def _house(draw: ImageDraw.ImageDraw, color: str) -> None:
    draw.rectangle((110, 110, 210, 190), fill="beige")
    draw.polygon(((100, 110), (160, 60), (220, 110)), fill=color)
    draw.rectangle((150, 150, 170, 190), fill="saddlebrown")


def _tree(draw: ImageDraw.ImageDraw, color: str) -> None:
    draw.rectangle((152, 120, 168, 190), fill="saddlebrown")
    draw.ellipse((115, 50, 205, 140), fill=color)


def _boat(draw: ImageDraw.ImageDraw, color: str) -> None:
    draw.polygon(((100, 160), (220, 160), (200, 190), (120, 190)), fill="sienna")
    draw.polygon(((160, 60), (160, 150), (215, 150)), fill=color)


if __name__ == "__main__":
    main()
