"""One request to an embeddings server: retries, and translation of HTTP errors into the errors of this layer.

The wire format is that of `POST /v1/embeddings` (https://platform.openai.com/docs/api-reference/embeddings), which TEI,
vLLM and Ollama support too. `openai_model` divides texts into requests; it imports this module with the first request,
because httpx is slow to import. No message contains the API key, more of the server's address than scheme, host and
port (it may contain a password), or the server's message (it may quote a text).
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import numpy as np
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    stop_any,
    wait_random_exponential,
)
from tenacity.stop import stop_base

from crdbvec_pipelines.encoding.backends import Vectors
from crdbvec_pipelines.encoding.errors import EncoderUnavailable, InputRejected, InputTooLong, ModelError

# Status codes that are retried, like every 5xx: request timeout, TEI's code for a failed inference, too many requests.
_TRANSIENT_CODES = frozenset({408, 424, 429})
# If the server requests a longer wait, the request fails and the caller waits, so that no worker is occupied.
_MAX_WAIT_SECONDS = 60.0
_backoff = wait_random_exponential(multiplier=0.5, max=_MAX_WAIT_SECONDS / 2)
# A server that cannot be reached is reported sooner than one that is slow to respond.
_CONNECT_TIMEOUT_SECONDS = 10.0


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
        self._retrying = Retrying(
            retry=retry_if_exception_type(EncoderUnavailable),
            stop=stop_any(stop_after_attempt(tries), _RequestedWaitIsTooLong()),
            wait=_wait,
            reraise=True,
        )

    def embed(self, texts: Sequence[str], model: str, dimensions: int | None) -> Vectors:
        """Encode texts with one request.

        Args:
            texts: At least one text.
            model: The name of the model on the server.
            dimensions: The dimension to which the server truncates the vectors; None for the model's own.

        Returns:
            The vectors, of shape (len(texts), dimension).

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

    def _post(self, body: dict[str, object], count: int) -> Vectors:
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
            raise _failure(response)
        try:
            content = response.json()
        except (ValueError, RecursionError):
            raise _malformed("is not JSON") from None
        return _vectors(content, count)


def _address(url: str) -> str:
    """Return the scheme, the host and the port of a URL, in whose other parts there may be secrets."""
    parsed = httpx.URL(url)
    return f"{parsed.scheme}://{parsed.netloc.decode('ascii')}"


def _failure(response: httpx.Response) -> Exception:
    code = response.status_code
    status = f"status {code}{_error_code(response)}"
    prefix = f"The embeddings server responded with {status}"
    if code in _TRANSIENT_CODES or code >= 500:
        return EncoderUnavailable(f"{prefix}: it is temporarily unavailable.", _retry_after(response))
    if code in (401, 403):
        return ModelError(f"{prefix}: it rejected the API key. Set CRDBVEC_OPENAI_API_KEY to a valid key.")
    if code == 404:
        return ModelError(
            f"{prefix}: the address or the model does not exist. Check CRDBVEC_OPENAI_BASE_URL (it usually ends with "
            "/v1) and CRDBVEC_OPENAI_MODEL."
        )
    if code == 413 or (code in (400, 422) and re.search("context.{0,3}length|too long|tokens", response.text)):
        return InputTooLong(f"{prefix}: an input, or the request as a whole, is too long.", detail=status)
    if code in (400, 422):
        return InputRejected(f"{prefix}: it rejected an input.", detail=status)
    return ModelError(f"{prefix}, which is not a response of an embeddings server. Check CRDBVEC_OPENAI_BASE_URL.")


def _error_code(response: httpx.Response) -> str:
    """Return the error code in parentheses if it is a single word; the server's message may quote a text."""
    try:
        error_code = response.json()["error"]["code"]
    except (ValueError, KeyError, TypeError):
        return ""
    return f" ({error_code})" if isinstance(error_code, str) and re.fullmatch("[a-z_]{1,64}", error_code) else ""


def _retry_after(response: httpx.Response) -> float | None:
    """Return the seconds of a Retry-After header, which contains a number or a date (RFC 9110, 10.2.3)."""
    value = response.headers.get("Retry-After", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None


def _requested_wait(state: RetryCallState) -> float | None:
    error = state.outcome.exception() if state.outcome else None
    return error.retry_after if isinstance(error, EncoderUnavailable) else None


class _RequestedWaitIsTooLong(stop_base):
    """Stops the retries if the server requests a wait of more than `_MAX_WAIT_SECONDS`."""

    def __call__(self, state: RetryCallState) -> bool:
        return (_requested_wait(state) or 0.0) > _MAX_WAIT_SECONDS


def _wait(state: RetryCallState) -> float:
    requested = _requested_wait(state)
    return _backoff(state) if requested is None else requested


def _malformed(what: str) -> EncoderUnavailable:
    """Return the error of a response that is not one of an embeddings server; no text of the request is its cause.

    A proxy in front of a server responds with a page and status 200, or the server with an error and status 200.
    """
    return EncoderUnavailable(
        f"The response of the embeddings server {what}. Check the server, and CRDBVEC_OPENAI_BASE_URL."
    )


def _vectors(response: Any, count: int) -> Vectors:
    try:
        entries = sorted(response["data"], key=lambda entry: int(entry["index"]))
        is_complete = [int(entry["index"]) for entry in entries] == list(range(count))
        vectors = np.array([entry["embedding"] for entry in entries], dtype=np.float32)
    except (KeyError, TypeError, ValueError, OverflowError):
        raise _malformed("has no valid `data`, `index` and `embedding`") from None
    if not is_complete:
        raise _malformed(f"has {len(vectors)} vectors for {count} texts")
    if vectors.ndim != 2 or not vectors.size:
        raise _malformed("has vectors that are not lists of numbers")
    return vectors
