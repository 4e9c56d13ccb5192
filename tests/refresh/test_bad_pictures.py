"""A table of pictures of which some are damaged: none is handed to the model twice, and each has its reason."""

import io
from collections.abc import Sequence

import numpy as np
import psycopg
from PIL import Image

from crdbvec_pipelines.config import VectorColumn, vector_column
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.encoding.encoder import EncodedBatch
from crdbvec_pipelines.encoding.reasons import reason_in
from tests.support.models import registry
from tests.support.work import embed, prepare

SPEC: VectorColumn = vector_column(table="picture", input="image", output="v", model="color_histogram")


class CountingEncoder:
    """The model, with the number of rows that it was handed."""

    def __init__(self) -> None:
        self.handed = 0
        self._encoder = registry().load("color_histogram")

    def encode(self, batch: Sequence[tuple[object, object]], batch_index: int = 0) -> EncodedBatch:
        self.handed += len(batch)
        return self._encoder.encode(batch, batch_index)


def test_three_percent_of_bad_pictures_cost_nothing(database: Database, connection: psycopg.Connection) -> None:
    random = np.random.default_rng(1)
    connection.execute("CREATE TABLE picture (id INT8 PRIMARY KEY, image BYTEA)")
    bad = {int(position): kind for kind, position in enumerate(random.choice(1_000, 30, replace=False))}
    for number in range(1_000):
        buffer = io.BytesIO()
        Image.fromarray(random.integers(0, 255, (8, 8, 3), np.uint8)).save(buffer, "PNG")
        content = buffer.getvalue()
        if number in bad:
            content = [content[:-40], b"<svg>%d</svg>" % number, b"%%PDF-1.7 %d" % number][bad[number] % 3]
        connection.execute("INSERT INTO picture VALUES (%s, %s)", (number, content))
    encoder = CountingEncoder()
    report = embed(database, SPEC, encoder, batch_size=256)
    assert (report.rows_embedded, report.rows_failed, encoder.handed) == (970, 30, 1_000)
    errors = prepare(database, SPEC).errors.list(100)
    assert {int(error.key[0]) for error in errors} == bad.keys()
    reasons = [str(reason_in(error.message)) for error in errors]
    assert {reason: reasons.count(reason) for reason in reasons} == {"damaged": 10, "unsupported_format": 20}
