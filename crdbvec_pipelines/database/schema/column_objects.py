"""The database objects whose names contain that of a vector column, and the renames that exchange those of two columns.

A column has objects in its own table. With `long_inputs: chunks` it has a chunk table as well, which is a table with an
ordinary vector column. So both are treated alike; only the name of a chunk table contains that of the column, too.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.chunks.table import chunk_spec, chunk_table_name
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.identifiers import short_name
from crdbvec_pipelines.database.index.statements import vector_index_names
from crdbvec_pipelines.database.schema.own_indexes import predicate_words
from crdbvec_pipelines.database.schema.statements import pending_index_name, table_indexes
from crdbvec_pipelines.database.table import Table, read_table

Rename = tuple[str, str]
"""The present name and the new one."""


@dataclass(frozen=True)
class OwnTable:
    """A table with objects of a vector column: its own table, or its chunk table.

    Attributes:
        table: The table as the server describes it.
        spec: The entry of the column; for a chunk table that of the table itself.
    """

    table: Table
    spec: VectorColumn

    @property
    def columns(self) -> list[str]:
        """The names of its columns in the table: the output, and the fingerprint if the table has it."""
        names = (self.spec.output, f"{self.spec.output}_fingerprint")
        return [name for name in names if name in self.table.columns]

    def index_names(self, spec: VectorColumn) -> list[str]:
        """Return the names of the indexes of the table if its column were that of another entry, in a fixed order."""
        return [*vector_index_names(spec, self.table.oid), pending_index_name(spec)]


@dataclass(frozen=True)
class OwnTables:
    """Two tables with the same objects, one of each of two vector columns; they are one table without chunks.

    Attributes:
        first: The table of the first column.
        second: That of the second one.
    """

    first: OwnTable
    second: OwnTable

    @property
    def are_one(self) -> bool:
        """Whether both columns are in one table."""
        return self.first.table.oid == self.second.table.oid

    def column_renames(self) -> list[tuple[Table, list[Rename]]]:
        """Return the renames that exchange the columns, by their table."""
        pairs = list(zip(self.first.columns, self.second.columns, strict=False))
        if self.are_one:
            return [(self.first.table, in_order({**dict(pairs), **{new: old for old, new in pairs}}))]
        return [(self.first.table, pairs), (self.second.table, [(new, old) for old, new in pairs])]

    def index_renames(self, database: Database, *, are_exchanged: bool) -> Iterator[tuple[Table, Rename]]:
        """Yield the renames after which each index has the name that belongs to its column.

        An index is recognized by having any of the names that this project gives, and belongs to the column that the
        catalog shows, so the renames of an interrupted exchange are continued.

        Args:
            database: The open database.
            are_exchanged: Whether the columns, and the tables if they are two, have their new names already.
        """
        for own, other in ((self.first, self.second), (self.second, self.first)):
            wanted = own.index_names(own.spec if are_exchanged else other.spec)
            known: dict[str, int] = {}
            for spec in (own.spec, other.spec):
                for position, name in enumerate(own.index_names(spec)):
                    known |= {name: position, interim_name(name): position}
            for name, _, columns, predicate in database.fetch(table_indexes(database.dialect), {"oid": own.table.oid}):
                words = predicate_words(predicate) or []
                is_own = own.spec.output in (*columns[-1:], *words[:1])
                if name in known and is_own and name != wanted[known[name]]:
                    yield own.table, (name, wanted[known[name]])


def own_tables(database: Database, source: Table, specs: tuple[VectorColumn, VectorColumn]) -> list[OwnTables]:
    """Return the tables with objects of two vector columns of one table: that table first, then the chunk tables.

    Args:
        database: The open database.
        source: Their table.
        specs: Their entries.
    """
    first, second = specs
    found = [OwnTables(OwnTable(source, first), OwnTable(source, second))]
    if first.chunking is not None:
        chunks = [OwnTable(read_table(database, chunk_table_name(spec)), chunk_spec(spec)) for spec in specs]
        found.append(OwnTables(*chunks))
    return found


def in_order(renames: Mapping[str, str]) -> list[Rename]:
    """Return renames in an order in which each new name is free, with interim names where names are exchanged."""
    left = {old: new for old, new in renames.items() if old != new}
    ordered = []
    while left:
        old = next((each for each, new in left.items() if new not in left), None)
        if old is None:
            old, new = next(iter(left.items()))
            ordered.append((old, interim_name(old)))
            left = {interim_name(old): new, **{each: other for each, other in left.items() if each != old}}
        else:
            ordered.append((old, left.pop(old)))
    return ordered


def exchanged(first: str, second: str) -> dict[str, str]:
    """Return the renames that exchange two names."""
    return {first: second, second: first}


def interim_name(name: str) -> str:
    """Return the name of an object while another one is given its name."""
    return short_name(name, "crdbvec_exchanged")
