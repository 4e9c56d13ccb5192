"""Requests to the providers of embeddings, by LiteLLM: what is passed to it, and its errors as those of this layer.

LiteLLM is imported with the first request: it takes seconds and 200 MB. Its exceptions and log messages quote the
request, so none is logged, shown, or the cause or context of an error of this layer.
"""

import importlib
import logging
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import httpx

from crdbvec_pipelines.encoding.errors import EncoderUnavailable, InputRejected, ModelError
from crdbvec_pipelines.encoding.models.remote_model import Answer
from crdbvec_pipelines.encoding.models.remote_requests import (
    Remedies,
    ordered_vectors,
    retrying,
    status_error,
    token_count,
)

# Without these, importing LiteLLM requests a list of prices from the network and reads a file `.env`.
_ENVIRONMENT = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MODE": "PRODUCTION"}
# LiteLLM logs requests. Below warnings, its libraries log addresses and headers, which contain the keys of some APIs.
_LOG_LEVELS = {
    **dict.fromkeys(("LiteLLM", "LiteLLM Proxy", "LiteLLM Router"), logging.CRITICAL + 1),
    **dict.fromkeys(("openai", "httpx", "httpcore", "botocore", "google.auth"), logging.WARNING),
}
# The prefixes by which LiteLLM recognizes a picture or a file instead of a text.
_FILE_PREFIXES = ("data:", "gs://", "s3://", "files/")
_CREDENTIALS = {
    "bedrock": "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION_NAME, or another source of credentials of AWS",
    "vertex_ai": "GOOGLE_APPLICATION_CREDENTIALS, VERTEXAI_PROJECT and VERTEXAI_LOCATION",
}
_import_lock = threading.Lock()


class ProviderClient:
    """The connection to a provider; safe to use from several threads.

    Args:
        model: The provider and its model, as `cohere/embed-v4.0`.
        api_base: The address of the API, as LiteLLM expects it for the provider; None for the provider's own.
        timeout: Seconds without a response after which an attempt fails.
        tries: The maximum number of attempts.

    Raises:
        ModelError: LiteLLM is not installed, or does not know the provider.
    """

    def __init__(self, model: str, api_base: str | None, timeout: float, tries: int) -> None:
        provider = model.partition("/")[0]
        self._model = model
        self._litellm = _import_litellm()
        if provider not in {str(getattr(each, "value", each)) for each in self._litellm.provider_list}:
            raise ModelError(
                f"LiteLLM knows no provider {provider!r}. Write the model as litellm/<provider>/<name>, with a "
                "provider of LiteLLM's list of embedding models."
            )
        if provider == "ollama":
            # LiteLLM sends its requests by a client for all models, without the timeout of the call.
            self._litellm.module_level_client.client.timeout = httpx.Timeout(timeout)
        self._options = {
            "api_base": api_base,
            "timeout": timeout,
            "max_retries": 0,
            "num_retries": 0,
            # Whether a model supports it is decided by the provider and not by LiteLLM's list.
            "allowed_openai_params": ["dimensions"],
        }
        self._retrying = retrying(tries)
        credentials = _CREDENTIALS.get(provider, f"{provider.upper()}_API_KEY")
        self._remedies = Remedies(
            server=f"provider {provider}",
            key=f"Set {credentials}; LiteLLM's documentation of the provider lists the variables.",
            not_found="the address or the model does not exist. Check the name of the model and `api_base`.",
            address="`api_base`",
        )

    def embed(self, texts: Sequence[str], dimensions: int | None, parameters: Mapping[str, str]) -> Answer:
        """Encode texts with one request.

        Args:
            texts: At least one text.
            dimensions: The dimension to which the provider truncates the vectors; None for the model's own.
            parameters: Parameters of the provider, such as `input_type`.

        Returns:
            The vectors, of shape (len(texts), dimension), and the tokens that the provider reports.

        Raises:
            EncoderUnavailable: Every attempt failed with overload, a server error, a timeout, a failed connection, or a
                response that cannot be used.
            InputRejected, InputTooLong: The provider rejected the texts.
            ModelError: The provider rejected the API key, or does not have the model or the parameters.
        """
        return self._retrying(self._embed, [_as_text(text) for text in texts], dimensions, parameters)

    def _embed(self, texts: list[str], dimensions: int | None, parameters: Mapping[str, str]) -> Answer:
        given = {} if dimensions is None else {"dimensions": dimensions}
        try:
            response = self._litellm.embedding(model=self._model, input=texts, **given, **parameters, **self._options)
        except Exception as error:
            failure = self._translated(error)
        else:
            usage = getattr(response, "usage", None)
            vectors = ordered_vectors(lambda: response.data, len(texts), self._remedies)
            return Answer(vectors, token_count(getattr(usage, "prompt_tokens", None)))
        # Raised here, so that LiteLLM's exception is not the context of this one.
        raise failure

    def _translated(self, error: Exception) -> EncoderUnavailable | InputRejected | ModelError:
        """Return the error of this layer for an exception of LiteLLM."""
        server, causes = self._remedies.server, list(_causes(error))
        missing = [cause.name for cause in causes if isinstance(cause, ImportError)]
        if missing:
            return ModelError(f"The {server} requires the package {missing[-1] or 'that LiteLLM names'}. Install it.")
        if any(type(cause).__name__ == "UnsupportedParamsError" for cause in causes):
            return ModelError(
                f"The {server} does not support a setting of the model. Check `dimensions` and `input_type`."
            )
        if any("Credentials" in type(cause).__name__ for cause in causes):
            return ModelError(f"There are no valid credentials for the {server}. {self._remedies.key}")
        response = next(filter(None, map(_response, reversed(causes))), None)
        if response is not None:
            return status_error(*response, self._remedies)
        code = getattr(error, "status_code", None)
        if code in (401, 403):
            return ModelError(f"There is no valid API key for the {server}. {self._remedies.key}")
        if isinstance(code, int) and 400 <= code < 500 and code != 408:
            return status_error(code, str(error), httpx.Headers(), self._remedies)
        return EncoderUnavailable(f"The {server} is unavailable ({type(causes[-1]).__name__}).")


def _import_litellm() -> Any:
    """Import LiteLLM and switch off what it does besides requests."""
    with _import_lock:
        os.environ.update(_ENVIRONMENT)
        try:
            litellm: Any = importlib.import_module("litellm")
        except ImportError as error:
            name = error.name or "litellm"
            raise ModelError(
                f"Models of providers require the package {name}. Install crdbvec-pipelines[providers]."
            ) from None
        for name, level in _LOG_LEVELS.items():
            logging.getLogger(name).setLevel(level)
        litellm.suppress_debug_info = True
        litellm.turn_off_message_logging = True
        litellm.set_verbose = False
        litellm.telemetry = False
        # LiteLLM takes `max_retries=0` for a value that is not set.
        litellm.DEFAULT_MAX_RETRIES = 0
        return litellm


def _as_text(text: str) -> str:
    """Return a text that LiteLLM does not read as a picture or as the address of a file."""
    return f" {text}" if text.startswith(_FILE_PREFIXES) else text


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and those that it was raised from or after; the first one of all is the last."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _response(error: BaseException) -> tuple[int, str, httpx.Headers] | None:
    """Return the status, the words and the headers of the response that an exception contains; None without one.

    The responses that LiteLLM itself makes for its exceptions have no headers.
    """
    response = getattr(error, "response", None)
    if not isinstance(response, httpx.Response) or not response.headers or response.is_success:
        return None
    try:
        text = response.text
    except httpx.StreamError:
        text = ""
    return response.status_code, text or str(error), response.headers
