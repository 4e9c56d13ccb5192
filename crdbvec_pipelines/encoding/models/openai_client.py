"""One request to an embeddings server, in the format of `POST /v1/embeddings`.

TEI, vLLM and Ollama support that format too (https://platform.openai.com/docs/api-reference/embeddings). `remote_model`
divides texts into requests; it imports this module with the first request, because httpx is slow to import.
`remote_requests` has the retries, the errors and the checks.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import httpx

from crdbvec_pipelines.encoding.errors import EncoderUnavailable, ModelError
from crdbvec_pipelines.encoding.models.remote_model import Answer
from crdbvec_pipelines.encoding.models.remote_requests import (
    Remedies,
    malformed,
    ordered_vectors,
    retrying,
    status_error,
    token_count,
)

# A server that cannot be reached is reported sooner than one that is slow to respond.
_CONNECT_TIMEOUT_SECONDS = 10.0
_NOT_JSON = object()
_REMEDIES = Remedies(
    server="embeddings server",
    key="Set CRDBVEC_OPENAI_API_KEY to a valid key.",
    not_found="the address or the model does not exist. Check CRDBVEC_OPENAI_BASE_URL (it usually ends with /v1) and "
    "CRDBVEC_OPENAI_MODEL.",
    address="CRDBVEC_OPENAI_BASE_URL",
)


class EmbeddingsClient:
    """A connection pool to one server; safe to use from several threads.

    Args:
        base_url: The address of the server up to and including `/v1`.
        api_key: The bearer token; empty for a server without authentication.
        timeout: Seconds without a response after which an attempt fails.
        tries: The maximum number of attempts.
    """

    def __init__(self, base_url: str, api_key: str, timeout: float, tries: int) -> None:
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = httpx.Client(
            headers=headers, timeout=httpx.Timeout(timeout, connect=min(timeout, _CONNECT_TIMEOUT_SECONDS))
        )
        self._url = base_url.rstrip("/") + "/embeddings"
        self._retrying = retrying(tries)

    def embed(self, texts: Sequence[str], model: str, dimensions: int | None) -> Answer:
        """Encode texts with one request.

        Args:
            texts: At least one text.
            model: The name of the model on the server.
            dimensions: The dimension to which the server truncates the vectors; None for the model's own.

        Returns:
            The vectors, of shape (len(texts), dimension), and the tokens that the server reports.

        Raises:
            EncoderUnavailable: Every attempt failed with overload, a server error, a timeout, a failed connection, or a
                response that does not have the specified format.
            InputRejected, InputTooLong: The server rejected the texts.
            ModelError: The server rejected the API key, or does not have the model or the address.
        """
        body: dict[str, object] = {"model": model, "input": list(texts), "encoding_format": "float"}
        if dimensions is not None:
            body["dimensions"] = dimensions
        return self._retrying(self._post, body, len(texts))

    def _post(self, body: dict[str, object], count: int) -> Answer:
        try:
            response = self._http.post(self._url, json=body)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol):
            raise ModelError(
                "CRDBVEC_OPENAI_BASE_URL is not a valid URL. Set it to a URL such as http://localhost:8080/v1."
            ) from None
        except httpx.RequestError as error:
            raise EncoderUnavailable(
                f"The embeddings server at {_address(self._url)} is unavailable ({type(error).__name__})."
            ) from None
        if not response.is_success:
            code = response.status_code
            raise status_error(code, response.text, response.headers, _REMEDIES, _error_code(response))
        content: Any = _NOT_JSON
        # The error is raised after the block, so that the one of the parser, which quotes the response, is not its
        # context.
        with suppress(ValueError, RecursionError):
            content = response.json()
        if content is _NOT_JSON:
            raise malformed("is not JSON", _REMEDIES)
        return Answer(ordered_vectors(lambda: content["data"], count, _REMEDIES), _tokens(content))


def _address(url: str) -> str:
    """Return the scheme, the host and the port of a URL, in whose other parts there may be secrets."""
    parsed = httpx.URL(url)
    return f"{parsed.scheme}://{parsed.netloc.decode('ascii')}"


def _error_code(response: httpx.Response) -> str:
    """Return the error code; the server's message may quote a text."""
    try:
        error_code = response.json()["error"]["code"]
    except (ValueError, KeyError, TypeError):
        return ""
    return error_code if isinstance(error_code, str) else ""


def _tokens(content: Any) -> int:
    usage = content.get("usage")
    return token_count(usage.get("prompt_tokens")) if isinstance(usage, dict) else 0
