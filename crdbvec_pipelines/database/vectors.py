"""Vectors as parameters: binary, and without asking the server for the type first.

pgvector's own registration looks the type up on every new connection, and fails on a database whose extension is made
later. A parameter without a type takes the one of its cast, and every vector in our statements is cast `::vector`; the
layout (dimension, zero, big-endian float4) is the same for pgvector and for CockroachDB, which takes it since 25.3.
"""

import numpy as np
import psycopg
from numpy.typing import NDArray
from pgvector import Vector
from psycopg.adapt import Dumper
from psycopg.pq import Format


class _VectorDumper(Dumper):
    format = Format.BINARY
    oid = 0

    def dump(self, obj: NDArray[np.float32]) -> bytes:
        binary: bytes = Vector(obj).to_binary()
        return binary


def accept_vectors(connection: psycopg.Connection) -> None:
    """Lets a connection take numpy arrays of one dimension as vectors."""
    connection.adapters.register_dumper(np.ndarray, _VectorDumper)
