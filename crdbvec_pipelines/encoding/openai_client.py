"""One request to an embeddings server, tried again while that can help, its failures sorted by who has to act.

The wire format is that of `POST /v1/embeddings` (https://platform.openai.com/docs/api-reference/embeddings), which
TEI, vLLM and Ollama speak too. How texts are divided into requests is `openai_model`'s affair, and it imports this
module when the server is first asked, because of httpx. No message holds the key, the server's address (it may hold
a password) or the server's own words (they may quote a text).
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
from crdbvec_pipelines.encoding.errors import EncoderUnavailable, EncodingError, InputRefused, InputTooLong, ModelError

# 424 is what TEI answers when its inference failed; 408 and 429 ask for another try, as every 5xx does.
_TRANSIENT = frozenset({408, 424, 429})
# A server that asks for a longer rest than this gets it from the caller, who can give the worker back meanwhile.
_LONGEST_WAIT = 60.0
_backoff = wait_random_exponential(multiplier=0.5, max=_LONGEST_WAIT / 2)


class EmbeddingsClient:
    """A connection pool to one server; may be used from several threads.

    Args:
        base_url: The address up to and including `/v1`.
        api_key: Sent as a bearer token; empty for a server that wants none.
        timeout: Seconds without an answer after which a try is given up.
        tries: How often a request is made at most.
    """

    def __init__(self, base_url: str, api_key: str, timeout: float, tries: int) -> None:
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = httpx.Client(headers=headers, timeout=httpx.Timeout(timeout, connect=min(timeout, 10.0)))
        self._url = base_url.rstrip("/") + "/embeddings"
        self._retrying = Retrying(
            retry=retry_if_exception_type(EncoderUnavailable),
            stop=stop_any(stop_after_attempt(tries), _RestIsTooLong()),
            wait=_wait,
            reraise=True,
        )

    def embed(self, texts: Sequence[str], model: str, dimensions: int | None) -> Vectors:
        """Have texts encoded by one request.

        Args:
            texts: At least one text.
            model: The server's name for the model.
            dimensions: The length to which the server shall shorten the vectors; None for their own.

        Returns:
            The vectors, of shape (len(texts), the server's dimension).

        Raises:
            EncoderUnavailable: Every try met overload, a failing server, a time-out or a broken connection.
            InputRefused, InputTooLong: The server refuses what was sent.
            ModelError: The server refuses the key, or knows no such model or address.
            EncodingError: The answer is not in the format of the interface.
        """
        body: dict[str, object] = {"model": model, "input": list(texts), "encoding_format": "float"}
        if dimensions is not None:
            body["dimensions"] = dimensions
        return _vectors(self._retrying(self._post, body), len(texts))

    def _post(self, body: dict[str, object]) -> Any:
        try:
            response = self._http.post(self._url, json=body)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise ModelError("CRDBVEC_OPENAI_BASE_URL is not an address such as http://localhost:8080/v1.") from error
        except httpx.TransportError as error:
            raise EncoderUnavailable(f"The embeddings server cannot be reached ({type(error).__name__}).") from error
        if response.is_success:
            try:
                return response.json()
            except ValueError as error:
                raise EncodingError("The embeddings server answered something other than JSON.") from error
        raise _failure(response)


def _failure(response: httpx.Response) -> Exception:
    code = response.status_code
    said = f"The embeddings server answered {code}{_reason(response)}"
    if code in _TRANSIENT or code >= 500:
        return EncoderUnavailable(f"{said}: it cannot encode at the moment.", _retry_after(response))
    if code in (401, 403):
        return ModelError(f"{said}: it refuses the key. Set CRDBVEC_OPENAI_API_KEY to one that it takes.")
    if code == 404:
        return ModelError(
            f"{said}: it has no such address or no such model. Check CRDBVEC_OPENAI_BASE_URL (as a rule it ends in "
            "/v1) and CRDBVEC_OPENAI_MODEL."
        )
    if code == 413 or (code in (400, 422) and re.search("context.{0,3}length|too long|tokens", response.text)):
        return InputTooLong(f"{said}: an input, or the request as a whole, is too long for it.")
    if code in (400, 422):
        return InputRefused(f"{said}: it refuses an input.")
    return ModelError(f"{said}, which is no answer of an embeddings server. Check CRDBVEC_OPENAI_BASE_URL.")


def _reason(response: httpx.Response) -> str:
    """Return the error's code in parentheses when it is a bare word; the server's message may quote a text."""
    try:
        reason = response.json()["error"]["code"]
    except (ValueError, KeyError, TypeError):
        return ""
    return f" ({reason})" if isinstance(reason, str) and re.fullmatch("[a-z_]{1,64}", reason) else ""


def _retry_after(response: httpx.Response) -> float | None:
    """Return the seconds of a Retry-After header, which holds a number or a date (RFC 9110, 10.2.3)."""
    value = response.headers.get("Retry-After", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None


def _asked_rest(state: RetryCallState) -> float | None:
    error = state.outcome.exception() if state.outcome else None
    return error.retry_after if isinstance(error, EncoderUnavailable) else None


class _RestIsTooLong(stop_base):
    """Stops when the server asked for a longer rest than is worth holding a worker for."""

    def __call__(self, state: RetryCallState) -> bool:
        return (_asked_rest(state) or 0.0) > _LONGEST_WAIT


def _wait(state: RetryCallState) -> float:
    rest = _asked_rest(state)
    return _backoff(state) if rest is None else rest


def _vectors(answer: Any, count: int) -> Vectors:
    try:
        entries = sorted(answer["data"], key=lambda entry: int(entry["index"]))
        complete = [int(entry["index"]) for entry in entries] == list(range(count))
        vectors = np.array([entry["embedding"] for entry in entries], dtype=np.float32)
    except (KeyError, TypeError, ValueError) as error:
        raise EncodingError("The embeddings server's answer lacks data, index or embedding.") from error
    if not complete or vectors.ndim != 2:
        raise EncodingError(f"The embeddings server answered {len(vectors)} vectors for {count} texts.")
    return vectors
