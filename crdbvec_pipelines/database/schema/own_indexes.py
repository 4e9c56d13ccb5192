"""The indexes that this project creates for its own queries, found by table and definition.

The name of an index says nothing after tables were renamed: that of another table may have it. An index of the table
with the same columns and the same predicate serves the same queries, whatever its name.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.identifiers import short_name
from crdbvec_pipelines.database.schema.statements import drop_index, table_indexes
from crdbvec_pipelines.database.statement import Statement
from crdbvec_pipelines.database.table import Table, read_table_oid
from crdbvec_pipelines.naming import TableName

# A quoted name, a word, or one other character that is neither white space nor a parenthesis.
_TOKEN = re.compile(r'"(?:[^"]|"")*"|\w+|[^\w\s()]')
_DIGEST_CHARACTERS = 8


@dataclass(frozen=True)
class OwnIndex:
    """An index that this project needs.

    Attributes:
        stem: The first part of its name.
        ending: The last part of its name, which shows that this project created it.
        columns: Its columns in order.
        predicate: Its predicate; None for an index over all rows.
    """

    stem: str
    ending: str
    columns: Sequence[str]
    predicate: sql.Composable | None

    def has_definition(self, columns: Sequence[str], predicate: str | None) -> bool:
        """Return whether an index of these columns with this predicate, as the server writes it, is the same."""
        own = None if self.predicate is None else self.predicate.as_string()
        return list(columns) == list(self.columns) and predicate_words(predicate) == predicate_words(own)

    def names(self, table: Table) -> tuple[str, str]:
        """Return its name, and the one that it has if another table's index, or another definition, has that name."""
        predicate = "" if self.predicate is None else self.predicate.as_string()
        definition = "\n".join([str(table.oid), *self.columns, predicate])
        digest = hashlib.sha256(definition.encode()).hexdigest()[:_DIGEST_CHARACTERS]
        return short_name(self.stem, self.ending), short_name(f"{self.stem}_{digest}", self.ending)


@dataclass(frozen=True)
class IndexChanges:
    """What is needed so that a table has an index.

    Attributes:
        drops: The statements that drop what failed builds of it have left.
        create_as: The name to create it under; None if the table has it.
    """

    drops: Sequence[Statement] = ()
    create_as: str | None = None


def index_changes(database: Database, table: Table, wanted: OwnIndex) -> IndexChanges:
    """Return what is needed so that a table has an index of its own with a definition."""
    name, other_name = wanted.names(table)
    by_name: dict[str, bool] = {}
    unusable = []
    for index, is_usable, columns, predicate in database.fetch(table_indexes(database.dialect), {"oid": table.oid}):
        by_name[index] = is_usable
        # The second name contains the definition, so a server's own way of writing the predicate is not needed.
        if wanted.has_definition(columns, predicate) or index == other_name:
            if is_usable:
                return IndexChanges()
            if index.endswith(f"_{wanted.ending}"):
                unusable.append(index)
    drops = [drop_index(database.dialect, table, index) for index in unusable]
    free = name not in by_name or name in unusable
    if free and database.dialect.vectors.has_schema_wide_index_names and name not in unusable:
        free = read_table_oid(database, TableName(table.name.schema, name)) is None
    return IndexChanges(drops, name if free else other_name)


def predicate_words(predicate: str | None) -> Sequence[str] | None:
    """Return the words of a predicate without parentheses and quotation marks, which each server writes in its way."""
    if predicate is None:
        return None
    return [token[1:-1].replace('""', '"') if token.startswith('"') else token for token in _TOKEN.findall(predicate)]
