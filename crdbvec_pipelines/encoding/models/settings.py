"""Settings of models, and their validation with messages that name the setting."""

from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from crdbvec_pipelines.encoding.errors import ModelError


class ModelSettings(BaseModel):
    """Base class of the settings of a model; unknown names are rejected, and the settings are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Prompts(ModelSettings):
    """The texts that are put before inputs; None keeps the model's own, an empty text switches it off.

    Attributes:
        passage: Before the inputs of rows.
        query: Before the texts of searches.
    """

    passage: str | None = None
    query: str | None = None


Settings = TypeVar("Settings", bound=ModelSettings)


def read_settings(
    settings_class: type[Settings], settings: Mapping[str, object], variables: Mapping[str, str] | None = None
) -> Settings:
    """Validate a mapping against a class of settings.

    Args:
        settings_class: The class.
        settings: The configured settings.
        variables: For each setting, the environment variable that it may come from, for the message.

    Returns:
        The settings, with defaults.

    Raises:
        ModelError: A setting is unknown, or its value is invalid.
    """
    sentences = []
    try:
        return settings_class.model_validate(dict(settings))
    except ValidationError as error:
        for detail in error.errors():
            # A condition on several settings names them itself.
            name = str(detail["loc"][0]) if detail["loc"] else ""
            if not name:
                sentences.append(f"The model's settings are not valid: {detail['msg'].removeprefix('Value error, ')}.")
            elif name in settings_class.model_fields:
                source = f" (or {variables[name]})" if variables else ""
                sentences.append(
                    f"The model's setting `{name}: {settings[name]}`{source} is not valid: {detail['msg']}."
                )
            else:
                sentences.append(
                    f"The model has no setting `{name}`. Its settings are {', '.join(settings_class.model_fields)}."
                )
    # Raised here, so that the error of pydantic, which quotes the value of an API key, is not the context of this one.
    raise ModelError(" ".join(sentences))
