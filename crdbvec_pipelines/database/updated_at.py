"""SQL expressions of the column that `updated_at` names: a timestamptz, or a timestamp with a declared time zone.

Parameter of `is_since`: `since`, a timestamptz.
"""

from psycopg import sql

from crdbvec_pipelines.database.aliases import reference
from crdbvec_pipelines.database.column import ColumnDefinition

# The longest time by which a time zone has ever set its clocks back is two hours; this is more.
_LONGEST_SHIFT = sql.SQL("interval '3 hours'")


class UpdatedAt:
    """SQL expressions of `updated_at` of one vector column.

    Args:
        column: The vector column. Without `updated_at` in its entry, no statement with these expressions is sent.
    """

    def __init__(self, column: ColumnDefinition) -> None:
        self._name = reference(column.spec.updated_at or column.spec.output)
        zone = column.spec.updated_at_timezone
        self._zone = None if zone is None else sql.Literal(zone)

    @property
    def column(self) -> sql.Identifier:
        """The column itself."""
        return self._name

    def time(self, value: sql.Composable) -> sql.Composable:
        """Return a value of the column, or an aggregate of it, as timestamptz."""
        if self._zone is None:
            return sql.SQL("{}::timestamptz").format(value)
        return sql.SQL("({} AT TIME ZONE {})").format(value, self._zone)

    @property
    def is_since(self) -> sql.Composable:
        """The predicate of rows updated at or after `since`. The column stands alone, so that an index is used."""
        since = sql.SQL("%(since)s::timestamptz")
        if self._zone is None:
            return sql.SQL("{} >= {}").format(self._name, since)
        # When the clocks are set back, later rows have earlier values. The second time differs from the first one only
        # in the hours before that, and is then as much earlier.
        return sql.SQL(
            "{name} >= least({since} AT TIME ZONE {zone}, ({since} + {shift}) AT TIME ZONE {zone} - {shift})"
        ).format(name=self._name, since=since, zone=self._zone, shift=_LONGEST_SHIFT)
