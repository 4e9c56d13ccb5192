"""A model's settings: from the mapping of `crdbvec.yaml` to a pydantic model, with messages that name the setting."""

from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from crdbvec_pipelines.encoding.errors import ModelError


class ModelSettings(BaseModel):
    """Base of a wrapper's settings: a name that is not a field is refused, and nothing changes once read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Settings = TypeVar("Settings", bound=ModelSettings)


def read_settings(
    kind: type[Settings], settings: Mapping[str, object], variables: Mapping[str, str] | None = None
) -> Settings:
    """Check a mapping against a class of settings.

    Args:
        kind: The class.
        settings: What the user wrote.
        variables: By setting, the environment variable that it may have come from, for the message.

    Returns:
        The settings, with the defaults filled in.

    Raises:
        ModelError: A setting is unknown, or its value is not one that it can have.
    """
    try:
        return kind.model_validate(dict(settings))
    except ValidationError as error:
        sentences = []
        for detail in error.errors():
            name = str(detail["loc"][0])
            if name in kind.model_fields:
                source = f" (or {variables[name]})" if variables else ""
                sentences.append(
                    f"The model's setting `{name}: {settings[name]}`{source} is not valid: {detail['msg']}."
                )
            else:
                sentences.append(f"The model has no setting `{name}`: its settings are {', '.join(kind.model_fields)}.")
        raise ModelError(" ".join(sentences)) from None
