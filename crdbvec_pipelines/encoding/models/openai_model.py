"""The functions of a wrapper for a model on a server with OpenAI's API: settings and model id.

`openai_client` sends the requests. There is no default address, because texts are sent to the server.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import PositiveInt

from crdbvec_pipelines.encoding.backends.variant import Role
from crdbvec_pipelines.encoding.errors import ModelError
from crdbvec_pipelines.encoding.models.remote_model import (
    Answer,
    Names,
    RemoteModel,
    RemoteSettings,
    split_into_requests,
)
from crdbvec_pipelines.encoding.models.settings import read_settings

if TYPE_CHECKING:
    from crdbvec_pipelines.encoding.models.openai_client import EmbeddingsClient

_PREFIX = "CRDBVEC_OPENAI_"


class OpenAISettings(RemoteSettings):
    """The settings, in crdbvec.yaml under `models.settings.<name>` or in the environment as CRDBVEC_OPENAI_<NAME>.

    The API key is not a setting, so that no file contains it. It is read from CRDBVEC_OPENAI_API_KEY only.

    Attributes:
        base_url: The address of the server up to and including `/v1`.
        model: The name of the model on the server.
        batch_characters: The maximum number of characters per request; a single longer text is a request.
    """

    base_url: str = ""
    model: str = ""
    batch_characters: PositiveInt = 200_000


class OpenAIModel(RemoteModel):
    """The model of one server; creating the object neither sends a request nor reads the environment."""

    def __init__(self) -> None:
        super().__init__()
        self._configured: Mapping[str, object] = {}
        self._settings: OpenAISettings | None = None
        self._client: EmbeddingsClient | None = None

    def configure(self, settings: Mapping[str, object]) -> None:
        """Receive the settings of crdbvec.yaml, which take precedence over those of the environment.

        Raises:
            ModelError: A setting is unknown, or its value is invalid.
        """
        read_settings(OpenAISettings, settings)
        self._configured = settings

    def id(self) -> str:
        """Return the model id: model name and configured dimension; without the address, which may change."""
        settings = self._read_settings()
        return f"openai:{settings.model}" + (f"-{settings.dimensions}" if settings.dimensions else "")

    def backend(self, threads: int | None = None) -> "OpenAIModel":
        """Return this object; the server computes, so `threads` is unused."""
        return self

    @property
    def _names(self) -> Names:
        return Names("embeddings server", f"{_PREFIX}MODEL", f"{_PREFIX}DIMENSIONS")

    def _dimensions(self) -> int | None:
        return self._read_settings().dimensions

    def _requests(self, texts: Sequence[str], role: Role) -> Iterator[list[str]]:
        settings = self._read_settings()
        return split_into_requests(texts, settings.batch, settings.batch_characters, len)

    def _request(self, texts: Sequence[str], role: Role) -> Answer:
        settings = self._read_settings()
        return self._connect().embed(texts, settings.model, settings.dimensions)

    def _read_settings(self) -> OpenAISettings:
        with self._lock:
            if self._settings is None:
                variables = {name: _PREFIX + name.upper() for name in OpenAISettings.model_fields}
                environment = {
                    name: os.environ[variable] for name, variable in variables.items() if os.environ.get(variable)
                }
                settings = read_settings(OpenAISettings, {**environment, **self._configured}, variables)
                for name in ("base_url", "model"):
                    if not getattr(settings, name):
                        raise ModelError(f"No embeddings server is configured. Set {variables[name]}.")
                self._settings = settings
            return self._settings

    def _connect(self) -> "EmbeddingsClient":
        from crdbvec_pipelines.encoding.models.openai_client import EmbeddingsClient

        with self._lock:
            if self._client is None:
                settings = self._read_settings()
                key = os.environ.get(_PREFIX + "API_KEY", "")
                self._client = EmbeddingsClient(settings.base_url, key, settings.timeout, settings.tries)
            return self._client
