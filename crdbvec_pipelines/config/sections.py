"""The nested parts of an entry of `vectors`: partitions, follow sensor, freshness, checks, indexes, chunks."""

from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

Metric = Literal["cosine", "l2", "ip"]
"""How vectors are compared: by cosine distance, Euclidean distance, or negative inner product."""
METRICS: tuple[str, ...] = get_args(Metric)

TextLanguage = Literal[
    "danish",
    "dutch",
    "english",
    "finnish",
    "french",
    "german",
    "hungarian",
    "italian",
    "norwegian",
    "portuguese",
    "russian",
    "simple",
    "spanish",
    "swedish",
    "turkish",
]
"""The text search configurations that both servers have. `simple` neither stems words nor omits frequent ones."""


LongInputs = Literal["truncate", "mean", "chunks"]
"""What becomes of a text that is longer than the model's window: its start is read, all of it in one vector, or all of
it in several chunks with a vector each."""

Splitter = Literal["text", "markdown", "code"]
"""Where a text is divided into chunks: at paragraphs and sentences, at headings, or at the functions of source code."""

Severity = Literal["error", "warn"]
"""How serious it is that a check does not pass."""


Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")]
"""A name that Dagster accepts as a part of its names."""


class Spec(BaseModel):
    """The base class of all entries: immutable, and strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class PartitionsSpec(Spec):
    """How a table is divided into partitions."""

    target_rows: int = Field(
        default=50_000, ge=1, description="The approximate number of rows per partition; 1 or more."
    )
    max_partitions: int = Field(
        default=1_000, ge=1, le=4_096, description="The maximum number of partitions; 1 to 4,096."
    )
    max_per_run: int = Field(
        default=100,
        ge=1,
        le=4_096,
        description="The maximum number of partitions per run of a backfill or of the sensor; 1 to 4,096. A run uses "
        "all cores of its machine, so fewer partitions per run are faster only with several machines.",
    )


class FollowSpec(Spec):
    """How the follow sensor reacts to pending rows."""

    interval_seconds: int = Field(default=30, ge=5, description="Seconds between two ticks of the sensor; 5 or more.")
    small_backlog: int = Field(
        default=10_000,
        ge=1,
        description="Up to this many pending rows are embedded by one run of the follow job, more by partition runs; "
        "1 or more.",
    )
    partition_runs: int = Field(
        default=4, ge=1, le=100, description="The maximum number of partition runs in progress; 1 to 100."
    )
    stuck_after_minutes: int = Field(
        default=60,
        ge=1,
        description="Minutes after its start until a run in progress is ignored, because its process and its code "
        "server may have ended; 1 or more. Set it to more than the duration of the longest run.",
    )


class FreshnessSpec(Spec):
    """When Dagster shows the asset as stale."""

    warn_hours: float = Field(
        default=26, gt=0, description="Hours after the last materialization until a warning; more than 0."
    )
    fail_hours: float = Field(
        default=50,
        gt=0,
        description="Hours after the last materialization until a failure; more than `freshness.warn_hours`.",
    )

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.warn_hours >= self.fail_hours:
            raise ValueError("warn_hours must be less than fail_hours")
        return self


class ChecksSpec(Spec):
    """What the asset checks require, and when a text counts as unreadable."""

    coverage: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="The share of the rows with an input that must have a fresh vector; 0 to 1.",
    )
    drift_partitions: int | None = Field(
        default=None,
        ge=1,
        description="The number of partitions, randomly chosen, that the check `drift` reads if it is executed alone; "
        "1 or more.",
    )
    unknown_tokens: float = Field(
        default=0.25,
        ge=0,
        le=1,
        description="The share of its tokens that the model does not know above which a text is unreadable; 0 to 1.",
    )
    target_lag_severity: Severity = Field(
        default="error",
        description="The severity of the check `target_lag`: `error`, which shows the asset as failed, or `warn`.",
    )
    unreadable: float = Field(
        default=0.01, ge=0, le=1, description="The share of the embedded texts that may be unreadable; 0 to 1."
    )
    truncated: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="The share of the embedded texts that may be longer than the model's window; 0 to 1.",
    )
    questions: Path | None = Field(
        default=None,
        description="A file of questions with their relevant rows, for the check `search_quality`; relative to the "
        "configuration file.",
    )
    ndcg: float = Field(
        default=0.8,
        ge=0,
        le=1,
        description="The nDCG of the first ten hits that the check `search_quality` requires, of hybrid searches if "
        "there is a text index, otherwise of vectors; 0 to 1.",
    )


class IndexSpec(Spec):
    """The vector index on the output column."""

    metric: Metric | None = Field(
        default=None, description="The distance that index and searches use: `cosine`, `l2` or `ip`."
    )
    prefix: tuple[str, ...] = Field(
        default=(),
        description="CockroachDB: the columns by which every search filters, such as the tenant. The index "
        "has a separate tree for each of their values.",
    )
    partial: bool | None = Field(
        default=None,
        description="Whether the index excludes rows without a vector. Without this key, a new index contains all "
        "rows, and an existing one is kept with or without them.",
    )
    min_coverage: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="The share of the rows with an input that must have a fresh vector before the index is built; "
        "0 to 1.",
    )
    min_partition_size: int | None = Field(
        default=None, ge=1, le=1_024, description="CockroachDB: a storage parameter of the index; 1 to 1,024."
    )
    max_partition_size: int | None = Field(
        default=None, ge=4, le=4_096, description="CockroachDB: a storage parameter of the index; 4 to 4,096."
    )
    build_beam_size: int | None = Field(
        default=None, ge=1, le=512, description="CockroachDB: a storage parameter of the index; 1 to 512."
    )
    m: int | None = Field(
        default=None, ge=2, le=100, description="PostgreSQL: a storage parameter of the index; 2 to 100."
    )
    ef_construction: int | None = Field(
        default=None, ge=4, le=1_000, description="PostgreSQL: a storage parameter of the index; 4 to 1,000."
    )
    effort: int | None = Field(
        default=None,
        ge=1,
        le=2_048,
        description="The search effort: the beam size (CockroachDB) or `ef_search` (PostgreSQL); 1 to 2,048.",
    )
    wanted_recall: float = Field(
        default=0.95,
        gt=0,
        le=1,
        description="The recall that the index check and `crdbvec index tune` require; more than 0, up to 1.",
    )

    @property
    def parameters(self) -> dict[str, int]:
        """The configured storage parameters, of both servers."""
        names = ("min_partition_size", "max_partition_size", "build_beam_size", "m", "ef_construction")
        return {name: value for name in names if (value := getattr(self, name)) is not None}


class ChunksSpec(Spec):
    """How long texts are divided into chunks, and what is stored of them."""

    size: int = Field(
        default=48,
        ge=8,
        le=100_000,
        description="The maximum number of tokens of a chunk, which the model's window must hold; 8 to 100,000.",
    )
    overlap: int = Field(
        default=12,
        ge=0,
        le=50_000,
        description="The maximum number of tokens that a chunk repeats of the one before; 0 to 50,000, and less than "
        "half of `size`.",
    )
    splitter: Splitter = Field(
        default="text",
        description="Where texts are divided: `text` at paragraphs and sentences, `markdown` at headings, too, `code` "
        "at the outermost functions and blocks of source code.",
    )
    prefix: str | None = Field(
        default=None,
        min_length=1,
        description='A text with `{column}` placeholders, such as `"{title}: "`, that the model reads before each '
        "chunk.",
    )
    store_text: bool = Field(
        default=False,
        description="Whether the chunk table has the text of each chunk. Without it, texts are cut from the row.",
    )

    @model_validator(mode="after")
    def _check_overlap(self) -> Self:
        if 2 * self.overlap >= self.size:
            raise ValueError("overlap must be less than half of size")
        return self


class TextIndexSpec(Spec):
    """The text index on the input, and how a hybrid search weighs its hits."""

    language: TextLanguage = Field(
        default="english",
        description="The language of the texts, whose word endings and frequent words are ignored: `danish`, `dutch`, "
        "`english`, `finnish`, `french`, `german`, `hungarian`, `italian`, `norwegian`, `portuguese`, `russian`, "
        "`spanish`, `swedish`, `turkish`, or `simple` for texts of no or of several languages.",
    )
    vector_weight: float = Field(
        default=1.0, ge=0, le=100, description="The weight of the rank by vectors in a hybrid search; 0 to 100."
    )
    keyword_weight: float = Field(
        default=1.0, ge=0, le=100, description="The weight of the rank by keywords in a hybrid search; 0 to 100."
    )
    exact_weight: float = Field(
        default=2.0,
        ge=0,
        le=100,
        description="The weight of quoted words, identifiers and phrases of the query that stand verbatim in a text; "
        "0 to 100.",
    )
