"""The types of the values of an entry of `vectors` that have a form of their own, with what is said of a wrong one."""

import re
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

from crdbvec_pipelines.config.cron import check_cron
from crdbvec_pipelines.config.duration import check_duration
from crdbvec_pipelines.config.model_name import MODEL_SCHEMA, PROVIDER_PREFIX, is_named_model, model_text
from crdbvec_pipelines.config.quiet_hours import check_quiet_hours
from crdbvec_pipelines.errors import ConfigurationError
from crdbvec_pipelines.naming import TableName


def _columns(value: object) -> object:
    columns = [value] if isinstance(value, str) else value
    if value is not None and not (
        isinstance(columns, (list, tuple)) and all(isinstance(column, str) and column for column in columns)
    ):
        raise ValueError("must be a column, a list of columns, or {template: ...}")
    return value


def _check_time_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        # A name that is unknown, is not a name, or is that of a folder.
        raise ValueError(f"{name!r} is not a time zone; write one such as UTC or Europe/Berlin") from None
    return name


def _check_reranker(model: str) -> str:
    if not is_named_model(model) or model.startswith(PROVIDER_PREFIX):
        raise ValueError("must be the id of a repository, as organization/model, or a folder")
    return model


def _table_name(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("must be a name like public.passage")
    try:
        return TableName.parse(value)
    except ConfigurationError as error:
        raise ValueError(str(error)) from None


_INPUT_SCHEMA = {
    "anyOf": [
        {"type": "string"},
        {"type": "array", "items": {"type": "string"}},
        {"type": "object", "properties": {"template": {"type": "string"}}, "required": ["template"]},
    ]
}


def _check_owner(owner: str) -> str:
    if not re.fullmatch(r"team:[A-Za-z0-9_]+|[^@\s]+@[^@\s]+\.[^@\s]+", owner):
        raise ValueError(f"{owner!r} is not an owner; write an e-mail address or team:name")
    return owner


TableText = Annotated[TableName, BeforeValidator(_table_name), WithJsonSchema({"type": "string"})]
"""A table, written as `table` or `schema.table`."""

InputColumns = Annotated[str | tuple[str, ...] | None, BeforeValidator(_columns), WithJsonSchema(_INPUT_SCHEMA)]
"""A column, or several."""

ModelText = Annotated[str, BeforeValidator(model_text), WithJsonSchema(MODEL_SCHEMA)]
"""A model as one text, also if it is written as a name with settings."""

RerankerText = Annotated[
    str, BeforeValidator(model_text), AfterValidator(_check_reranker), WithJsonSchema(MODEL_SCHEMA)
]
"""A model by name as one text."""

QuietHours = Annotated[str, AfterValidator(check_quiet_hours)]
"""A period of the day, such as `08:00-18:00`."""

TimeZone = Annotated[str, AfterValidator(_check_time_zone)]
"""The name of a time zone, such as `Europe/Berlin`."""

Cron = Annotated[str, AfterValidator(check_cron)]
"""A cron expression."""

Duration = Annotated[str, AfterValidator(check_duration)]
"""A duration, such as `5m`."""

Owner = Annotated[str, AfterValidator(_check_owner)]
"""An owner of an asset in Dagster: an e-mail address, or `team:name`."""
