"""crdbvec.yaml -> typed specs. The sentences that say what is wrong with it are made in `config_faults`.

Pure: nothing here connects to a database, imports a model or knows Dagster. What can only be checked against the
server (does the column exist?) is checked by `database.introspect` when the work starts.
"""

import os
import re
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from crdbvec_pipelines.config_faults import sentences
from crdbvec_pipelines.errors import ConfigurationError
from crdbvec_pipelines.naming import TableName

CONFIG_VARIABLE = "CRDBVEC_CONFIG"
URL_VARIABLE = "CRDBVEC_URL"
DEFAULT_FILE = "crdbvec.yaml"

Staleness = Literal["fingerprint", "trigger", "nulls_only"]
"""How an edited row is found: by comparing fingerprints, at once by a trigger as well, or not at all."""


class _Spec(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class EnvironmentVariable(_Spec):
    """A value that is read from the environment when the work starts, so that it is in no file."""

    env: str = Field(min_length=1)

    def read(self) -> str:
        """The variable's value.

        Raises:
            ConfigurationError: the variable is not set.
        """
        value = os.environ.get(self.env)
        if not value:
            raise ConfigurationError(
                f"The environment variable {self.env} is not set; set it to the database's URL, "
                "for example postgresql://user:password@host:26257/database?sslmode=verify-full."
            )
        return value


# In a query or in the form `host=... password=...`, both of which libpq takes.
_PASSWORD = re.compile(r"(?:^|[?&\s])(?:ssl)?password\s*=", re.IGNORECASE)


def _url_without_password(value: object) -> object:
    if isinstance(value, EnvironmentVariable):
        return value
    if isinstance(value, str):
        if urlsplit(value).password or _PASSWORD.search(value):
            raise ValueError("holds a password; write {env: CRDBVEC_URL} here and put the URL into that variable")
        return value
    if isinstance(value, Mapping) and set(value) == {"env"} and isinstance(value["env"], str) and value["env"]:
        return EnvironmentVariable(env=value["env"])
    raise ValueError("must be {env: <the variable that holds the URL>}, or a URL without a password")


class DatabaseSpec(_Spec):
    """Where the tables are."""

    url: Annotated[EnvironmentVariable | str, BeforeValidator(_url_without_password)] = EnvironmentVariable(
        env=URL_VARIABLE
    )

    def read_url(self) -> str:
        """The URL, from the environment where the file says so.

        Raises:
            ConfigurationError: the environment variable is not set.
        """
        return self.url if isinstance(self.url, str) else self.url.read()


class PartitionsSpec(_Spec):
    """How a table is cut into key ranges."""

    target_rows: int = Field(default=50_000, ge=1)
    max_partitions: int = Field(default=1_000, ge=1, le=4_096)


class FollowSpec(_Spec):
    """How the sensor follows new pending rows."""

    interval_seconds: int = Field(default=30, ge=5)
    small_backlog: int = Field(default=10_000, ge=1)
    """Up to so many pending rows are one run of the follow job; more become partition runs."""
    partition_runs: int = Field(default=4, ge=1, le=100)
    """Partition runs that may be under way at once."""
    stuck_after_minutes: int = Field(default=60, ge=1)
    """A run that has been under way for longer is taken for dead, and no longer waited for."""


class FreshnessSpec(_Spec):
    """When the asset counts as stale in Dagster's UI."""

    warn_hours: float = Field(default=26, gt=0)
    fail_hours: float = Field(default=50, gt=0)

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.warn_hours >= self.fail_hours:
            raise ValueError("warn_hours must be below fail_hours")
        return self


class ChecksSpec(_Spec):
    """What the asset checks expect."""

    coverage: float = Field(default=1.0, ge=0, le=1)
    """The share of rows with an input that must have a fresh vector."""
    drift_partitions: int | None = Field(default=None, ge=1)
    """How many partitions, chosen by chance, the drift check re-hashes; all if not given."""


class IndexSpec(_Spec):
    """The vector index over the output column."""

    metric: Literal["cosine", "l2", "ip"] | None = None
    """The distance; the model's if not given. Index and searches both go by it."""
    prefix: tuple[str, ...] = ()
    """Columns that every search pins, such as the tenant; each value has a tree of its own (CockroachDB)."""
    partial: bool = True
    min_coverage: float = Field(default=1.0, ge=0, le=1)
    """The share of rows with an input that must be embedded before the index is built."""
    min_partition_size: int | None = Field(default=None, ge=1, le=1_024)
    max_partition_size: int | None = Field(default=None, ge=4, le=4_096)
    build_beam_size: int | None = Field(default=None, ge=1, le=512)
    m: int | None = Field(default=None, ge=2, le=100)
    ef_construction: int | None = Field(default=None, ge=4, le=1_000)
    effort: int | None = Field(default=None, ge=1, le=2_048)
    """Beam size (CockroachDB) or ef_search (PostgreSQL) of searches; the server's default if not given."""
    wanted_recall: float = Field(default=0.95, gt=0, le=1)
    """What `recall_at_k` and `crdbvec index tune` ask of the index."""

    @property
    def parameters(self) -> dict[str, int]:
        """The storage parameters that are given, of both servers."""
        names = ("min_partition_size", "max_partition_size", "build_beam_size", "m", "ef_construction")
        return {name: value for name in names if (value := getattr(self, name)) is not None}


class ModelsSpec(_Spec):
    """Where model wrappers are found besides the built-in ones, and what they are told."""

    directories: tuple[Path, ...] = ()
    settings: Mapping[str, Mapping[str, Any]] = Field(default_factory=dict)


def _columns(value: object) -> object:
    columns = [value] if isinstance(value, str) else value
    if value is not None and not (
        isinstance(columns, (list, tuple)) and all(isinstance(column, str) and column for column in columns)
    ):
        raise ValueError("must be a column, a list of columns, or {template: ...}")
    return value


def _table_name(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("must be a name like public.passage")
    try:
        return TableName.parse(value)
    except ConfigurationError as error:
        raise ValueError(str(error)) from None


class VectorColumn(_Spec):
    """One vector column: the output of one model over one input of one table."""

    table: Annotated[TableName, BeforeValidator(_table_name)]
    input: Annotated[str | tuple[str, ...] | None, BeforeValidator(_columns)] = None
    template: str | None = None
    output: str = Field(min_length=1, max_length=50)
    model: str = Field(min_length=1)
    # The encoder sorts by length within a batch, and was measured a quarter faster with 1,024 texts at once than with
    # 256 (docs/benchmarks.md).
    batch_size: int = Field(default=1_024, ge=1, le=10_000)
    workers: int = Field(default=1, ge=1, le=64)
    partitions: PartitionsSpec = PartitionsSpec()
    staleness: Staleness = "fingerprint"
    updated_at: str | None = None
    manage_schema: bool = True
    schedule: str = "0 3 * * *"
    follow: FollowSpec = FollowSpec()
    freshness: FreshnessSpec = FreshnessSpec()
    checks: ChecksSpec = ChecksSpec()
    index: IndexSpec | None = None
    origin: str = Field(default="the command line", exclude=True)

    @model_validator(mode="before")
    @classmethod
    def _hoist_template(cls, data: object) -> object:
        if isinstance(data, Mapping) and isinstance(data.get("input"), Mapping) and set(data["input"]) == {"template"}:
            return {**{k: v for k, v in data.items() if k != "input"}, **data["input"]}
        return data

    @model_validator(mode="after")
    def _check_input(self) -> Self:
        if (self.input is None) == (self.template is None):
            raise ValueError("needs exactly one of input (a column, or a list of columns) and template")
        if not self.input_columns:
            raise ValueError("names no input column; write input: <column> or a template with {column} in it")
        for written in filter(None, (self.output, self.fingerprint_column)):
            if written in self.input_columns:
                raise ValueError(f"the column {written} is written and also an input; name another output")
        if self.updated_at and self.staleness == "nulls_only":
            raise ValueError("updated_at finds edited rows, which staleness nulls_only does not look for; drop one")
        return self

    @property
    def template_parts(self) -> tuple[tuple[str, str | None], ...]:
        """The template as (literal text, column that follows or None), in order; empty without a template."""
        refusal = ValueError("template takes plain {column} placeholders only; write {{ and }} for braces")
        parts = []
        try:
            for literal, field, format_spec, conversion in string.Formatter().parse(self.template or ""):
                if field is not None and (not field or format_spec or conversion):
                    raise refusal
                parts.append((literal, field))
        except ValueError:
            # A brace without its counterpart.
            raise refusal from None
        return tuple(parts)

    @property
    def input_columns(self) -> tuple[str, ...]:
        """The columns the input is made of, each once, in order of first use."""
        if self.template is not None:
            return tuple(dict.fromkeys(column for _, column in self.template_parts if column is not None))
        return (self.input,) if isinstance(self.input, str) else (self.input or ())

    @property
    def fingerprint_column(self) -> str | None:
        """The column beside the vector that holds its fingerprint; None where `staleness` keeps none."""
        return None if self.staleness == "nulls_only" else f"{self.output}_fingerprint"

    def __str__(self) -> str:
        return f"{self.table}.{self.output}"


class ProjectConfig(_Spec):
    """The whole of crdbvec.yaml."""

    database: DatabaseSpec = DatabaseSpec()
    models: ModelsSpec = ModelsSpec()
    asset_prefix: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")], ...] = ()
    vectors: tuple[VectorColumn, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check_unique(self) -> Self:
        seen: set[tuple[TableName, str]] = set()
        for vector in self.vectors:
            for output in filter(None, (vector.output, vector.fingerprint_column)):
                if (vector.table, output) in seen:
                    raise ValueError(f"two entries of vectors write {vector.table}.{output}; give one another output")
                seen.add((vector.table, output))
        return self


def find_config(path: Path | None = None) -> Path:
    """The configuration file to read: `path`, else the one named by CRDBVEC_CONFIG, else ./crdbvec.yaml."""
    return path or Path(os.environ.get(CONFIG_VARIABLE) or DEFAULT_FILE)


def load_config(path: Path | None = None) -> ProjectConfig:
    """Reads and checks a configuration file.

    Args:
        path: the file; else the one that `find_config` names.

    Raises:
        ConfigurationError: the file is missing, is no YAML, or says something impossible. The message names the file,
            the entry and the remedy, one line for each fault.
    """
    file = find_config(path)
    try:
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(
            f"There is no configuration file {file}; create it, or name one with --config or {CONFIG_VARIABLE}."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file} cannot be read ({type(error).__name__}); it must be a UTF-8 file.") from None
    except yaml.YAMLError as error:
        # Not the error's own text: it quotes the line, and with it whatever secret is on it.
        mark = getattr(error, "problem_mark", None)
        place = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or type(error).__name__
        raise ConfigurationError(f"{file} is not valid YAML{place}: {problem}.") from None
    if not isinstance(data, dict):
        raise ConfigurationError(f"{file} is empty or not a mapping; it needs at least the entry vectors.")
    return parse_config(data, str(file), file.parent)


def parse_config(data: dict[str, Any], source: str, folder: Path) -> ProjectConfig:
    """Checks what a configuration file says.

    Args:
        data: the file's content.
        source: what messages call the file.
        folder: what paths in it are relative to.

    Raises:
        ConfigurationError: it says something impossible; one line for each fault.
    """
    try:
        return ProjectConfig.model_validate(_with_origins(_with_folder(data, folder), source))
    except ValidationError as error:
        raise ConfigurationError(sentences(error, source, _SPECS)) from None


def vector_column(**values: object) -> VectorColumn:
    """A vector column from values rather than a file, such as a command line's options or a Component's attributes.

    Raises:
        ConfigurationError: a value is impossible; the message names it.
    """
    origin = str(values.get("origin", "the command line"))
    try:
        return VectorColumn.model_validate(values)
    except ValidationError as error:
        raise ConfigurationError(sentences(error, origin, _SPECS)) from None


def _with_folder(data: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Paths in the file are relative to the file, not to whoever happens to read it."""
    models = data.get("models")
    if isinstance(models, dict) and isinstance(models.get("directories"), list):
        directories = [folder / str(entry) for entry in models["directories"]]
        return {**data, "models": {**models, "directories": directories}}
    return data


def _with_origins(data: dict[str, Any], source: str) -> dict[str, Any]:
    vectors = data.get("vectors")
    if not isinstance(vectors, list):
        return data
    named = [
        {**entry, "origin": f"{source}: vectors[{position}]"} if isinstance(entry, dict) else entry
        for position, entry in enumerate(vectors)
    ]
    return {**data, "vectors": named}


# The spec of each entry, by the key it stands under.
_SPECS: dict[str, type[BaseModel]] = {
    "": ProjectConfig,
    "database": DatabaseSpec,
    "models": ModelsSpec,
    "vectors": VectorColumn,
    "partitions": PartitionsSpec,
    "follow": FollowSpec,
    "freshness": FreshnessSpec,
    "checks": ChecksSpec,
    "index": IndexSpec,
}
