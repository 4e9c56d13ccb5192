"""Whether a failed write is the failure of a row or of its table, which rejects every vector.

A row failure is recorded and the work continues; if the table is the cause, that would record all of its rows one after
the other. So after a batch without a single written row, the table is tested before anything is recorded.
"""

from collections.abc import Sequence

from crdbvec_pipelines.database.errors import DatabaseError, TableRejectsVectors
from crdbvec_pipelines.database.rows.vector_rows import VectorRows
from crdbvec_pipelines.database.sqlstate import is_lock_or_timeout, is_usually_of_table
from crdbvec_pipelines.errors import CrdbvecError


def check_table_accepts(table: VectorRows, errors: Sequence[CrdbvecError]) -> None:
    """Raise an error if the failed writes of a batch, none of which succeeded, were caused by the table.

    Errors with different SQLSTATEs are those of rows, and so are locks and timeouts, which end. If all rows failed with
    one SQLSTATE, the table is the cause unless it accepts the vector of another row.

    A row that failed alone is a failed row, because its value is as probable a cause as the table; but not if it
    exceeds a limit of the server or the table is in a wrong state, such as without a replica identity: neither depends
    on the value.

    Args:
        table: The rows of the vector column.
        errors: The error of each row of the batch.

    Raises:
        TableRejectsVectors: The table is the cause.
        DatabaseUnavailable: The database is unavailable.
    """
    found = [error for error in errors if isinstance(error, DatabaseError)]
    states = {error.sqlstate for error in found}
    if len(states) != 1 or is_lock_or_timeout(found[0].sqlstate):
        return
    if len(found) == 1 and not is_usually_of_table(found[0].sqlstate):
        return
    if not table.accepts_vectors():
        raise TableRejectsVectors(str(table.spec.table), table.spec.output, found[0])
