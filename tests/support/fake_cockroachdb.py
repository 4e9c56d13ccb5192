"""What CockroachDB does differently, on PostgreSQL: search strategies, the list of jobs, triggers in use.

Each fake follows CockroachDB's source, which its docstring names.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import psycopg
from psycopg import sql

from crdbvec_pipelines.config import QualityOfService
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.dialects import CockroachDialect, PostgresDialect
from crdbvec_pipelines.database.dialects.cockroachdb_vectors import CockroachVectors
from crdbvec_pipelines.database.dialects.postgres_vectors import PostgresVectors
from crdbvec_pipelines.database.dialects.vector_support import IndexDefinition


class FakeCockroachVectors(CockroachVectors):
    """CockroachDB's strategies over PostgreSQL's index, which is described with the given prefix columns."""

    def __init__(self, prefixes: Mapping[str, Sequence[str]]) -> None:
        super().__init__(260200)
        self._prefixes = prefixes
        self._real = PostgresVectors()

    def describe(self, table: sql.Identifier) -> sql.Composable:
        return self._real.describe(table)

    def parse_description(self, rows: Sequence[Sequence[object]], column: str) -> dict[str, IndexDefinition]:
        found = self._real.parse_description(rows, column)
        return {name: replace(index, prefix=tuple(self._prefixes[name])) for name, index in found.items()}

    def settings(self, effort: int | None, *, filtered: bool, is_ivfflat: bool = False) -> dict[str, str]:
        return {}

    def uses_index(self, plan: Sequence[str], index: str) -> bool:
        return self._real.uses_index(plan, index)


class NonExhaustiveVectors(FakeCockroachVectors):
    """A fake whose short results are never complete, because PostgreSQL's index does not separate tenants."""

    def is_exhaustive(self, found: int, effort: int | None) -> bool:
        return False


def search_like_cockroachdb(
    database: Database, support: type[FakeCockroachVectors] = FakeCockroachVectors, **prefixes: Sequence[str]
) -> Database:
    """Make a connection to PostgreSQL search as on CockroachDB."""
    dialect = CockroachDialect(260200)
    dialect.vectors = support(prefixes)
    dialect.vector_schema = database.dialect.vector_schema
    database.dialect = dialect
    return database


# `delegate/show_jobs.go`: the list of all jobs shortens descriptions, that of selected jobs does not.
_JOBS = "(SELECT job_id, job_type, {} AS description, status, created, fraction_completed FROM public.fake_jobs)"
_SHORTENED = (
    "CASE WHEN length(description) > 70 "
    "THEN concat(substr(description, 0, 60) || ' … ' || right(description, 7)) ELSE description END"
)


class FakeJobs(FakeCockroachVectors):
    """A fake whose jobs are the rows of the table `fake_jobs`, which `create_jobs` creates."""

    @property
    def progress(self) -> sql.Composable:
        text = CockroachVectors(260200).progress.as_string().replace("[SHOW JOBS]", _JOBS.format(_SHORTENED))
        start, of_selected, rest = text.partition("[SHOW JOBS ")
        if of_selected:
            selected, _, rest = rest.partition("]")
            start += f"(SELECT * FROM {_JOBS.format('description')} AS named WHERE job_id IN ({selected}))"
        return sql.SQL(f"{start}{rest}")


def create_jobs(connection: psycopg.Connection) -> None:
    """Create the table of the jobs of `FakeJobs`."""
    connection.execute(
        "CREATE TABLE public.fake_jobs (job_id INT8 PRIMARY KEY, job_type TEXT, description TEXT, status TEXT, "
        "created TIMESTAMPTZ DEFAULT now(), fraction_completed FLOAT8)"
    )


def reject_replaced_trigger_functions(connection: psycopg.Connection) -> None:
    """Reject CREATE OR REPLACE of the function of an active trigger, as `create_function.go` does before 26.2."""
    connection.execute(
        """
        CREATE FUNCTION public.reject_replacing() RETURNS event_trigger LANGUAGE plpgsql AS $$
        BEGIN
          IF EXISTS (SELECT 1 FROM pg_event_trigger_ddl_commands() AS c JOIN pg_trigger AS t ON t.tgfoid = c.objid) THEN
            RAISE EXCEPTION 'cannot replace a trigger function with an active trigger' USING ERRCODE = '0A000';
          END IF;
        END $$
        """
    )
    connection.execute(
        "CREATE EVENT TRIGGER reject_replacing ON ddl_command_end WHEN TAG IN ('CREATE FUNCTION') "
        "EXECUTE FUNCTION public.reject_replacing()"
    )


class QualityOfServiceDialect(PostgresDialect):
    """PostgreSQL with a quality of service, in a setting of a name that it accepts."""

    def quality_of_service_settings(self, quality: QualityOfService) -> Mapping[str, str]:
        settings = CockroachDialect(260200).quality_of_service_settings(quality)
        return {f"fake.{name}": value for name, value in settings.items()}
