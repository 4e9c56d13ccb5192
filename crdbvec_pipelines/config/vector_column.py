"""An entry of `vectors` in crdbvec.yaml: one vector column.

`sections` contains the nested parts of an entry, `value_types` the forms of its values. Nothing here connects to a
database, imports a model wrapper or imports Dagster. What can only be checked on the server, such as whether a column
exists, is checked in `database.table`.
"""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, PrivateAttr, model_validator

from crdbvec_pipelines.config.duration import duration_seconds
from crdbvec_pipelines.config.migration import MigrationSpec
from crdbvec_pipelines.config.sections import (
    ChecksSpec,
    ChunksSpec,
    FollowSpec,
    FreshnessSpec,
    IndexSpec,
    LongInputs,
    PartitionsSpec,
    Spec,
    TextIndexSpec,
    Word,
)
from crdbvec_pipelines.config.template import TemplateParts, template_parts
from crdbvec_pipelines.config.value_types import (
    Cron,
    Duration,
    InputColumns,
    ModelText,
    Owner,
    QuietHours,
    RerankerText,
    TableText,
    TimeZone,
)

Staleness = Literal["fingerprint", "trigger", "nulls_only"]
"""How edited rows are found: by comparing fingerprints, by a trigger as well, or not at all."""

ExistingVectors = Literal["refuse", "adopt", "replace"]
"""What becomes of vectors that were in the output column before it was first prepared."""

QualityOfService = Literal["background", "regular"]
"""How CockroachDB orders the work of a session next to that of others when the cluster is busy."""

Executor = Literal["auto", "in_process", "multiprocess"]
"""Where a Dagster run encodes its batches."""

MAX_BATCH_SIZE = 10_000
"""Rows per batch. The vectors of the largest batch take about 160 MB at 4,096 dimensions."""
MAX_WORKERS = 64
"""Batches encoded at the same time: as many as there are cores in a large server."""


class VectorColumn(Spec):
    """One vector column: the vectors that one model computes from one input of one table."""

    database: str | None = Field(
        default=None,
        description="The name of the table's database in `databases`; by default the table is in `database`.",
    )
    table: TableText = Field(
        description="`table` or `schema.table`, spelled exactly as in the database. Write double quotes around a part "
        "that contains a dot."
    )
    input: InputColumns = Field(
        default=None,
        description="The column to embed, or a list of columns, whose values are joined by line breaks.",
    )
    template: str | None = Field(
        default=None,
        description='A text with `{column}` placeholders, such as `"{title}: {body}"`. `{{` and `}}` are literal '
        "braces. NULL counts as an empty text.",
    )
    output: str = Field(
        min_length=1, max_length=50, description="The vector column, created if it is missing; 1 to 50 characters."
    )
    model: ModelText = Field(
        min_length=1,
        description="The model: a name that `crdbvec model list` shows, or a repository of the Hugging Face hub "
        "(`organization/model`) or a folder, with its settings as `{name: organization/model, dimensions: 256}`.",
    )
    long_inputs: LongInputs | None = Field(
        default=None,
        description="What becomes of a text that is longer than the model's window: `truncate` reads its start only, "
        "`mean` all of it in one vector, `chunks` divides it into rows of a chunk table, each with its own vector. By "
        "default as `models.settings` says, otherwise `truncate`.",
    )
    chunks: ChunksSpec | None = Field(
        default=None, description="How texts are divided; only with `long_inputs: chunks`."
    )
    # The encoder sorts a batch by length: with 1,024 texts per batch it was measured a quarter faster than with 256
    # (docs/benchmarks.md).
    batch_size: int = Field(
        default=1_024,
        ge=1,
        le=MAX_BATCH_SIZE,
        description="Rows that are read, encoded and written together; 1 to 10,000.",
    )
    workers: int = Field(
        default=1,
        ge=1,
        le=MAX_WORKERS,
        description="Batches that are encoded at the same time; 1 to 64.",
    )
    memory_budget_mb: int = Field(
        default=256,
        ge=16,
        le=1_048_576,
        description="The memory for the inputs that a process has read and not yet written, in MiB; 16 to 1,048,576. "
        "Batches of large inputs have fewer rows.",
    )
    executor: Executor = Field(
        default="auto",
        description="Where a Dagster run encodes: `in_process`, `multiprocess` (as many processes as `workers`), or "
        "`auto`: several processes only for a wrapper that neither has an engine nor is thread-safe.",
    )
    quality_of_service: QualityOfService = Field(
        default="background",
        description="CockroachDB: the quality of service of backfills, maintenance, checks and `crdbvec plan`: "
        "`background`, which other sessions take precedence over when the cluster is busy, or `regular`. Searches and "
        "follow always have `regular`.",
    )
    max_rows_per_second: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="The maximum number of rows per second that all processes on all machines together write to the "
        "table; 1 to 1,000,000. Fewer are written while the server is slow or asks for retries.",
    )
    max_connections: int | None = Field(
        default=None,
        ge=1,
        le=1_000,
        description="The maximum number of connections, and of statements in flight, with which all processes on all "
        "machines together read and write the table; 1 to 1,000. Each process has one more, which is idle most of the "
        "time.",
    )
    price_per_million_tokens: float | None = Field(
        default=None,
        ge=0,
        description="The price of a million tokens that the model reads, in any currency, for the cost in metrics and "
        "metadata; 0 or more. By default the cost is not known.",
    )
    quiet_hours: tuple[QuietHours, ...] = Field(
        default=(),
        description='Periods of the day in which no row is embedded, such as `["08:00-18:00"]`, in the time zone of '
        "`schedule_timezone`. What is in progress pauses until their end.",
    )
    partitions: PartitionsSpec = Field(
        default=PartitionsSpec(), description="How the table is divided into partitions."
    )
    staleness: Staleness = Field(
        default="fingerprint", description="How edited rows are found: `fingerprint`, `trigger` or `nulls_only`."
    )
    existing_vectors: ExistingVectors = Field(
        default="refuse",
        description="What becomes of vectors that were in the output column before it was first prepared: `adopt` "
        "keeps them as the vectors of the present inputs and model, `replace` embeds these rows again, `refuse` "
        "changes nothing and fails.",
    )
    reuse_vectors: bool = Field(
        default=False,
        description="Whether an input whose vector is already in the output column is given that vector instead of "
        "being encoded. An index on the fingerprint column is then created.",
    )
    updated_at: str | None = Field(
        default=None,
        description="A column with the time of each row's last update. Edited rows are then found through an index "
        "on it.",
    )
    updated_at_timezone: TimeZone | None = Field(
        default=None,
        description="The time zone of the values of `updated_at`, if that is a timestamp without time zone, such as "
        "`Europe/Berlin`.",
    )
    manage_schema: bool = Field(
        default=True,
        description="Whether missing columns, indexes and triggers may be created. With `false`, the run fails with "
        "the statements to run.",
    )
    schedule: Cron = Field(
        default="0 3 * * *",
        description="When maintenance runs: a cron expression. The schedule is off until you switch it on in Dagster.",
    )
    schedule_timezone: TimeZone = Field(
        default="UTC", description="The time zone of `schedule`, such as `Europe/Berlin`."
    )
    keep_runs_days: int | None = Field(
        default=None,
        ge=1,
        description="Days after their end until maintenance deletes runs of this vector column from Dagster; 1 or "
        "more.",
    )
    source_asset: tuple[Annotated[str, Field(min_length=1)], ...] | None = Field(
        default=None,
        min_length=1,
        description="The key of an asset of your project that is the table, such as `[analytics, passage]`, for the "
        "lineage; by default an asset is made for the table.",
    )
    group: Word | None = Field(
        default=None, description="The group of the assets in Dagster; by default the name of the table."
    )
    owners: tuple[Owner, ...] = Field(
        default=(), description="The owners of the assets in Dagster: e-mail addresses, or `team:name`."
    )
    tags: Mapping[str, str] = Field(default_factory=dict, description="Tags of the assets in Dagster.")
    pool: Word | None = Field(
        default=None,
        description="The concurrency pool of Dagster of the assets' steps, of which as many run at the same time as "
        "the pool has slots; by default none.",
    )
    follow: FollowSpec = Field(default=FollowSpec(), description="How the follow sensor reacts to pending rows.")
    target_lag: Duration | None = Field(
        default=None,
        description="How long a row may be pending, such as `5m`. It is measured, checked and recorded, and the sensor "
        "chooses its runs by it. It needs `updated_at`.",
    )
    freshness: FreshnessSpec = Field(default=FreshnessSpec(), description="When Dagster shows the asset as stale.")
    checks: ChecksSpec = Field(default=ChecksSpec(), description="What the asset checks require.")
    contact_sheet: bool = Field(
        default=False,
        description="Whether the materialization of a partition of pictures shows some of its pictures with those "
        "nearest to them. Small copies of the pictures are then in Dagster's event log.",
    )
    index: IndexSpec | None = Field(default=None, description="The vector index on the output column.")
    text_index: TextIndexSpec | None = Field(
        default=None, description="The text index on the input, for keyword and hybrid searches."
    )
    rerank: RerankerText | None = Field(
        default=None,
        description="A cross-encoder of sentence-transformers that orders the first 50 hits of a search again where "
        "the search asks for it: a repository of the Hugging Face hub or a folder, with its settings as `{name: "
        "organization/model, revision: <commit>}`. It changes no vector.",
    )
    migration: MigrationSpec | None = Field(
        default=None,
        description="The change of the model that is in progress, for Dagster, which then shows the second column; "
        "`crdbvec migrate` writes it and removes it.",
    )
    origin: str = Field(
        default="the command line", exclude=True, description="Where the values come from; for messages only."
    )
    _second_of: str | None = PrivateAttr(default=None)

    @model_validator(mode="before")
    @classmethod
    def _hoist_template(cls, data: object) -> object:
        if isinstance(data, Mapping) and isinstance(data.get("input"), Mapping) and set(data["input"]) == {"template"}:
            return {**{k: v for k, v in data.items() if k != "input"}, **data["input"]}
        return data

    @model_validator(mode="after")
    def _check_input(self) -> Self:
        if (self.input is None) == (self.template is None):
            raise ValueError("must have exactly one of input (a column, or a list of columns) and template")
        if not self.input_columns:
            raise ValueError("has no input column; write input: <column>, or a template that contains {column}")
        for written in filter(None, (self.output, self.fingerprint_column)):
            if written in self.input_columns:
                raise ValueError(f"the column {written} cannot be both written and an input; choose another output")
        if self.updated_at_timezone and not self.updated_at:
            raise ValueError("updated_at_timezone is the time zone of updated_at, which is missing")
        if self.updated_at and self.staleness == "nulls_only":
            raise ValueError("updated_at finds edited rows, but staleness nulls_only ignores edits; remove one of them")
        if self.target_lag and not self.updated_at:
            raise ValueError("target_lag is about the time since updated_at, which is missing")
        if self.reuse_vectors and self.staleness == "nulls_only":
            raise ValueError("reuse_vectors needs fingerprints, which staleness nulls_only does not have; remove one")
        return self

    @model_validator(mode="after")
    def _check_contact_sheet(self) -> Self:
        if self.contact_sheet and (self.template is not None or len(self.input_columns) != 1):
            other = "other columns" if self.template is None else "template"
            raise ValueError(f"contact_sheet shows the pictures of one input column; remove it, or the {other}")
        if self.contact_sheet and self.long_inputs == "chunks":
            raise ValueError("contact_sheet is for pictures, long_inputs: chunks for texts; remove one of them")
        return self

    @model_validator(mode="after")
    def _check_chunks(self) -> Self:
        if self.long_inputs != "chunks":
            if self.migration is not None and self.migration.chunks is not None:
                raise ValueError("migration.chunks is for long_inputs: chunks; remove it")
            if self.chunks is not None:
                raise ValueError("chunks says how texts are divided; write long_inputs: chunks, or remove it")
            return self
        if self.reuse_vectors:
            raise ValueError("reuse_vectors is for one vector a row; remove it, or long_inputs: chunks")
        if self.existing_vectors == "adopt":
            raise ValueError("existing_vectors: adopt is for one vector a row; remove it, or long_inputs: chunks")
        if {self.output, self.fingerprint_column} & set(self.watched_columns):
            raise ValueError(f"the column {self.output} cannot be both written and read; choose another output")
        return self

    @property
    def template_parts(self) -> TemplateParts:
        """The template as (literal text, following column or None), in order; empty without a template."""
        return template_parts(self.template, "template")

    @property
    def chunking(self) -> ChunksSpec | None:
        """How texts are divided into chunks; None for one vector a row."""
        return (self.chunks or ChunksSpec()) if self.long_inputs == "chunks" else None

    @property
    def chunk_prefix_parts(self) -> TemplateParts:
        """The text before each chunk as `template_parts`; empty without one."""
        return template_parts(self.chunking.prefix if self.chunking else None, "chunks.prefix")

    @property
    def encoded_columns(self) -> tuple[str, ...]:
        """The distinct columns that the model reads: those of the input, and of the text before each chunk."""
        prefix = (column for _, column in self.chunk_prefix_parts if column is not None)
        return tuple(dict.fromkeys([*self.input_columns, *prefix]))

    @property
    def watched_columns(self) -> tuple[str, ...]:
        """The distinct columns of which a change makes a row pending.

        Those are the columns that the model reads, and the prefix columns of the index that chunks have copies of.
        """
        copied = self.index.prefix if self.chunking and self.index else ()
        return tuple(dict.fromkeys([*self.encoded_columns, *copied]))

    @property
    def input_columns(self) -> tuple[str, ...]:
        """The distinct columns of the input, in order of first use."""
        if self.template is not None:
            return tuple(dict.fromkeys(column for _, column in self.template_parts if column is not None))
        return (self.input,) if isinstance(self.input, str) else (self.input or ())

    def price_of(self, tokens: int) -> float | None:
        """Return the price of tokens; None if it is not known."""
        return None if self.price_per_million_tokens is None else tokens * self.price_per_million_tokens / 1_000_000

    @property
    def target_lag_seconds(self) -> int | None:
        """The target lag in seconds; None without one."""
        return None if self.target_lag is None else duration_seconds(self.target_lag)

    @property
    def second_of(self) -> str | None:
        """The column next to which this one is in a model migration; None for the column of an entry."""
        return self._second_of

    @property
    def text_index_output(self) -> str:
        """The column whose name the text index has: both columns of a model migration have the same input, and one."""
        return self._second_of or self.output

    def as_second(self, output: str, first: str) -> Self:
        """Return the entry as that of the second column of a model migration.

        Args:
            output: The second column.
            first: The column next to which it is.
        """
        second = self.model_copy(update={"output": output, "migration": None})
        second._second_of = first
        return second

    def with_model(self, model: str, chunks: ChunksSpec | None = None) -> Self:
        """Return the entry with a model; the metric of another model is its own, not that of the entry.

        Args:
            model: The model.
            chunks: How texts are divided for it; None for as now.
        """
        divided = self if chunks in (None, self.chunking) else self.model_copy(update={"chunks": chunks})
        if self.model == model:
            return divided
        index = self.index.model_copy(update={"metric": None}) if self.index else None
        return divided.model_copy(update={"model": model, "index": index})

    def second_column(self) -> Self | None:
        """Return the second column of the model migration in progress, as an entry; None without one."""
        if self.migration is None:
            return None
        with_model = self.with_model(self.migration.model, self.migration.chunks)
        return with_model.as_second(self.migration.second, self.output)

    @property
    def fingerprint_column(self) -> str | None:
        """The column with the fingerprint of the vector; None if `staleness` does not use fingerprints."""
        return None if self.staleness == "nulls_only" else f"{self.output}_fingerprint"

    def __str__(self) -> str:
        name = f"{self.table}.{self.output}"
        return f"{self.database}/{name}" if self.database else name
