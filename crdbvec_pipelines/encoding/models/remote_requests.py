"""What the clients of all embeddings APIs share: retries, errors by status, and the checks of a response.

No message contains a key, more of an address than scheme, host and port (it may contain a password), or words of the
server (they may quote a text). This module is imported with the first request, because httpx and tenacity are slow to
import.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

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


@dataclass(frozen=True)
class Remedies:
    """How messages name a server, and what they tell the user to check.

    Attributes:
        server: The server, such as `embeddings server`.
        key: The remedy if it rejects the API key.
        not_found: What does not exist after status 404, and what to check.
        address: What to check if the response is not one of an embeddings server.
    """

    server: str
    key: str
    not_found: str
    address: str


def retrying(tries: int) -> Retrying:
    """Return the retries of one request: with backoff, or after the time that the server requests.

    Args:
        tries: The maximum number of attempts.
    """
    return Retrying(
        retry=retry_if_exception_type(EncoderUnavailable),
        stop=stop_any(stop_after_attempt(tries), _RequestedWaitIsTooLong()),
        wait=_wait,
        reraise=True,
    )


def status_error(
    code: int, text: str, headers: Mapping[str, str], remedies: Remedies, error_code: str = ""
) -> EncoderUnavailable | InputRejected | ModelError:
    """Return the error of a response that is not a success.

    Args:
        code: The status code.
        text: The words of the server, which are searched and never shown.
        headers: The headers of the response, with case-insensitive names.
        remedies: What the message says.
        error_code: The error code in the response; shown if it is a single word.
    """
    shown = f" ({error_code})" if re.fullmatch("[a-z_]{1,64}", error_code) else ""
    status = f"status {code}{shown}"
    prefix = f"The {remedies.server} responded with {status}"
    if code in _TRANSIENT_CODES or code >= 500:
        return EncoderUnavailable(f"{prefix}: it is temporarily unavailable.", retry_after(headers))
    if code in (401, 403):
        return ModelError(f"{prefix}: it rejected the API key. {remedies.key}")
    if code == 404:
        return ModelError(f"{prefix}: {remedies.not_found}")
    if code == 413 or (code in (400, 422) and re.search("context.{0,3}length|too long|tokens", text)):
        return InputTooLong(f"{prefix}: an input, or the request as a whole, is too long.", detail=status)
    if code in (400, 422):
        return InputRejected(f"{prefix}: it rejected an input.", detail=status)
    return ModelError(f"{prefix}, which is not a response of an embeddings server. Check {remedies.address}.")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of a Retry-After header, which contains a number or a date (RFC 9110, 10.2.3)."""
    value = headers.get("Retry-After", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None


def malformed(what: str, remedies: Remedies) -> EncoderUnavailable:
    """Return the error of a response that is not one of an embeddings server; no text of the request is its cause.

    A proxy in front of a server responds with a page and status 200, or the server with an error and status 200.
    """
    return EncoderUnavailable(
        f"The response of the {remedies.server} {what}. Check the server, and {remedies.address}."
    )


def ordered_vectors(read_entries: Callable[[], Iterable[Any]], count: int, remedies: Remedies) -> Vectors:
    """Return the vectors of a response in the order of the texts.

    Args:
        read_entries: Returns the entries, each with `index` and `embedding`, in any order.
        count: The number of texts.
        remedies: What the message says.

    Raises:
        EncoderUnavailable: A vector is missing, occurs twice, or is not a list of as many numbers as the others.
    """
    vectors, is_complete = None, False
    # The error is raised after the block, so that the one of numpy, which quotes the response, is not its context.
    with suppress(KeyError, TypeError, ValueError, OverflowError):
        entries = sorted(read_entries(), key=lambda entry: int(entry["index"]))
        is_complete = [int(entry["index"]) for entry in entries] == list(range(count))
        vectors = np.array([entry["embedding"] for entry in entries], dtype=np.float32)
    if vectors is None:
        raise malformed("has no valid `data`, `index` and `embedding`", remedies)
    if not is_complete:
        raise malformed(f"has {len(vectors)} vectors for {count} texts", remedies)
    if vectors.ndim != 2 or not vectors.size:
        raise malformed("has vectors that are not lists of numbers", remedies)
    return vectors


def token_count(value: object) -> int:
    """Return the number of tokens that a server reports; 0 if it reports none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


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
