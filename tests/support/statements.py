"""Statements of a test's own, sent through the product's connection."""

from typing import LiteralString

from psycopg import sql

from crdbvec_pipelines.database.statement import Statement


def probe(text: LiteralString) -> Statement:
    """A statement with this text, which is not in the catalogue."""
    return Statement("probe", sql.SQL(text))
