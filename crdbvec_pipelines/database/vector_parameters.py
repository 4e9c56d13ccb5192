"""Vectors as binary parameters, without a query for their type.

pgvector's own registration queries the type on every new connection, and fails if the extension is installed later. A
parameter without a type has the type of its cast, and every statement casts vectors to VECTOR. The binary layout
(dimension, zero, big-endian float4) is the same for pgvector and for CockroachDB 25.3 or later.
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


def register_vector_dumper(connection: psycopg.Connection) -> None:
    """Register numpy arrays of one dimension as vector parameters of a connection."""
    connection.adapters.register_dumper(np.ndarray, _VectorDumper)
