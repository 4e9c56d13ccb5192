"""A model of a provider by name: `litellm/<provider>/<name>`. No wrapper file is needed.

`provider_client` sends the requests by LiteLLM. The API keys are the environment variables that LiteLLM reads.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from pydantic import PositiveInt

from crdbvec_pipelines.config.model_name import PROVIDER_PREFIX
from crdbvec_pipelines.encoding.backends.variant import Role
from crdbvec_pipelines.encoding.digest import text_digest
from crdbvec_pipelines.encoding.errors import ModelError
from crdbvec_pipelines.encoding.models.remote_model import (
    Answer,
    Names,
    RemoteModel,
    RemoteSettings,
    split_into_requests,
)
from crdbvec_pipelines.encoding.models.settings import ModelSettings, Prompts, read_settings

if TYPE_CHECKING:
    from crdbvec_pipelines.encoding.models.provider_client import ProviderClient

# How the providers name the two sides of a search: parameter, value for rows, value for searches. For providers that
# offer models of several companies, by a part of the model's name.
_INPUT_TYPES = (
    (("cohere/", "cohere_chat/"), "", ("input_type", "search_document", "search_query")),
    (("bedrock/", "azure_ai/"), "cohere", ("input_type", "search_document", "search_query")),
    (("voyage/",), "", ("input_type", "document", "query")),
    (("vertex_ai/",), "", ("input_type", "RETRIEVAL_DOCUMENT", "RETRIEVAL_QUERY")),
    (("nvidia_nim/",), "", ("input_type", "passage", "query")),
    (("jina_ai/",), "-v3", ("task", "retrieval.passage", "retrieval.query")),
)
# Few texts have more tokens than a third of their bytes in UTF-8: English has about a quarter, Chinese a third. A
# request that is too long nevertheless is sent again in halves.
_BYTES_PER_TOKEN = 3


class InputTypes(ModelSettings):
    """What the requests state about a text; None for the value known for the provider, an empty text for nothing.

    Attributes:
        passage: For the inputs of rows.
        query: For the texts of searches.
    """

    passage: str | None = None
    query: str | None = None


class ProviderSettings(RemoteSettings):
    """The settings of a model of a provider, next to its name in crdbvec.yaml.

    There is no setting for an API key, so that no file contains one.

    Attributes:
        api_base: The address of the API, as LiteLLM expects it for the provider.
        batch_tokens: The maximum number of tokens per request, which are estimated; the default is Vertex AI's limit.
        input_type: What the requests state about a text: that it is one of a row, or of a search.
        prompts: The texts that are put before inputs.
    """

    api_base: str | None = None
    batch_tokens: PositiveInt = 20_000
    input_type: InputTypes = InputTypes()
    prompts: Prompts = Prompts()


class ProviderModel(RemoteModel):
    """The functions of a model wrapper, for a model of a provider; creating the object imports and requests nothing.

    Args:
        name: The name, as `litellm/cohere/embed-v4.0`.

    Raises:
        ModelError: The name has no provider or no model.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self._model = name.removeprefix(PROVIDER_PREFIX)
        provider, _, model = self._model.partition("/")
        if not provider or not model:
            raise ModelError(f"The model {name!r} names no provider or no model. Write litellm/<provider>/<name>.")
        self._provider = provider
        self._settings = ProviderSettings()
        self._client: ProviderClient | None = None

    def embedding_configure(self, settings: Mapping[str, object]) -> None:
        """Receive the settings next to the name.

        Raises:
            ModelError: A setting is unknown, or its value is invalid.
        """
        self._settings = read_settings(ProviderSettings, settings)
        address = urlsplit(self._settings.api_base or "")
        if address.username or address.password:
            raise ModelError(
                "The setting `api_base` contains a user name or a password, which would be shown with the model. "
                "Remove them, and set the environment variable that LiteLLM reads for the provider."
            )

    def embedding_label(self) -> str:
        """Return the line that the list of models shows."""
        return f"A model of the provider {self._provider}, by LiteLLM"

    def embedding_description(self) -> str:
        """Return how the model is requested; no request is sent."""
        settings = self._settings
        sentences = [
            f"The model {self.embedding_id()}: texts are sent to the provider {self._provider} by LiteLLM, at most "
            f"{settings.batch:,} texts and about {settings.batch_tokens:,} tokens per request."
        ]
        for role, label in (("document", "rows"), ("query", "searches")):
            name, value = self._input_type(cast(Role, role))
            sentences.append(f"Texts of {label}: {name} {value}." if value else f"Texts of {label}: no input type.")
            if prompt := self._prompt(cast(Role, role)):
                sentences.append(f"Prompt before {label}: {prompt!r}.")
        return " ".join(sentences)

    def embedding_dim(self) -> int:
        """Return the configured dimension, otherwise that of one encoded word, which is requested once."""
        return self.dim()

    def embedding_id(self) -> str:
        """Return the model id, which contains everything that changes the vector of a row.

        That is the name, the dimensions, the input type and the prompt of rows. The address is not, because one model
        can be reached at several.
        """
        settings = self._settings
        parts = [f"litellm:{self._model}"]
        if settings.dimensions:
            parts.append(str(settings.dimensions))
        if input_type := self._input_type("document")[1]:
            parts.append(f"type:{input_type}")
        if prompt := self._prompt("document"):
            parts.append(f"passage:{text_digest(prompt)[:8]}")
        return "-".join(parts)

    def embedding_is_thread_safe(self) -> bool:
        """Return True: threads can share the connections."""
        return self.is_thread_safe()

    def embedding_backend(self, threads: int | None) -> "ProviderModel":
        """Return this object, with LiteLLM imported; the provider computes, so `threads` is unused."""
        self._connect()
        return self

    def embedding_encode(self, input_data: str, verbose: bool = False) -> list[float]:
        """Return the vector of one input of a row; `verbose` is part of the contract and unused."""
        return self.encode_one(input_data)

    def embedding_encode_batch(
        self, batch_index: int, batch: Iterable[tuple[Any, str]], verbose: bool = False
    ) -> list[tuple[Any, list[float]]]:
        """Return (key, vector) pairs for (key, input) pairs, in the same order; `verbose` is unused."""
        return self.encode_batch(batch_index, batch)

    def embedding_encode_query(self, text: str) -> list[float]:
        """Return the vector of a search, with the provider's input type and the prompt for queries."""
        return cast("list[float]", self._encode_all([text], "query")[0].tolist())

    @property
    def _names(self) -> Names:
        return Names(f"provider {self._provider}", "the name of the model", "`dimensions`")

    def _dimensions(self) -> int | None:
        return self._settings.dimensions

    def _requests(self, texts: Sequence[str], role: Role) -> Iterator[list[str]]:
        prompt = self._prompt(role)
        return split_into_requests(
            [prompt + text for text in texts], self._settings.batch, self._settings.batch_tokens, _estimated_tokens
        )

    def _request(self, texts: Sequence[str], role: Role) -> Answer:
        name, value = self._input_type(role)
        return self._connect().embed(texts, self._settings.dimensions, {name: value} if value else {})

    def _prompt(self, role: Role) -> str:
        prompts = self._settings.prompts
        return (prompts.passage if role == "document" else prompts.query) or ""

    def _input_type(self, role: Role) -> tuple[str, str]:
        """Return the parameter that states what a text is, and its value; an empty value for none."""
        name, *known = next(
            (given for starts, part, given in _INPUT_TYPES if self._model.startswith(starts) and part in self._model),
            ("input_type", "", ""),
        )
        own = self._settings.input_type
        configured = own.passage if role == "document" else own.query
        return name, known[role == "query"] if configured is None else configured

    def _connect(self) -> "ProviderClient":
        from crdbvec_pipelines.encoding.models.provider_client import ProviderClient

        with self._lock:
            if self._client is None:
                settings = self._settings
                self._client = ProviderClient(self._model, settings.api_base, settings.timeout, settings.tries)
            return self._client


def _estimated_tokens(text: str) -> float:
    return len(text.encode(errors="replace")) / _BYTES_PER_TOKEN
