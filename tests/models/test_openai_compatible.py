"""The wrapper for embeddings servers, tested with a small HTTP server in a thread."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import numpy as np
import pytest

from crdbvec_pipelines.encoding import (
    Encoder,
    EncoderUnavailable,
    InputRejected,
    InputTooLong,
    ModelError,
    ModelRegistry,
    RowsRejected,
)
from tests.support.json_server import Response, json_server

KEY = "sk-very-secret"


@dataclass
class Server:
    """The state of the server: the requests that it received and the responses that it sends.

    Attributes:
        url: The address, as in the configuration.
        planned: The first responses (status, headers, body), one per request; then regular responses follow.
        requests: The received bodies.
        keys: The received Authorization headers.
        dim: The dimension of the vectors.
        delay_seconds: The delay of each response.
        rejects: Whether the response to these inputs is status 400.
        reports_tokens: Whether a response contains the number of tokens.
    """

    url: str = ""
    planned: list[Response] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    dim: int = 3
    delay_seconds: float = 0.0
    rejects: Callable[[list[str]], bool] = lambda inputs: False
    reports_tokens: bool = True

    def respond(self, body: dict[str, Any], key: str | None) -> Response:
        self.requests.append(body)
        self.keys.append(key)
        time.sleep(self.delay_seconds)
        if self.planned:
            return self.planned.pop(0)
        if self.rejects(body["input"]):
            return 400, {}, {"error": {"message": f"bad input {body['input']}", "code": "invalid_value"}}
        dim = body.get("dimensions", self.dim)
        entries = [{"index": i, "embedding": [len(text)] + [1] * (dim - 1)} for i, text in enumerate(body["input"])]
        usage = {"usage": {"prompt_tokens": 5 * len(entries)}} if self.reports_tokens else {}
        return 200, {}, {"data": entries[::-1], **usage}

    @property
    def inputs(self) -> list[list[str]]:
        return [body["input"] for body in self.requests]


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    def respond(path: str, headers: Mapping[str, str], body: dict[str, Any]) -> Response:
        if path != "/v1/embeddings":
            return 404, {}, {"error": {"code": "not_found"}}
        return state.respond(body, headers.get("Authorization"))

    with json_server(respond) as address:
        state.url = f"{address}/v1"
        yield state


@pytest.fixture
def make(server: Server, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Encoder]:
    """Return a function that loads the model with environment variables, without prefix; None unsets one."""

    def make(settings: dict[str, object] | None = None, **variables: str | None) -> Encoder:
        for name, value in {"BASE_URL": server.url, "MODEL": "m1", "API_KEY": KEY, "TRIES": "3", **variables}.items():
            if value is None:
                monkeypatch.delenv(f"CRDBVEC_OPENAI_{name}", raising=False)
            else:
                monkeypatch.setenv(f"CRDBVEC_OPENAI_{name}", value)
        return ModelRegistry(settings={"openai_compatible": settings or {}}).load("openai_compatible")

    return make


def _batch(count: int) -> list[tuple[object, object]]:
    return [(number, "x" * number) for number in range(1, count + 1)]


def test_number_of_texts_per_request_is_limited(server: Server, make: Callable[..., Encoder]) -> None:
    encoder = make(BATCH="3", DIMENSIONS="2")
    encoded = encoder.encode(_batch(7))
    assert encoded.vectors[:, 0].tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert encoded.vectors.dtype == np.float32
    assert [len(inputs) for inputs in server.inputs] == [3, 3, 1]
    assert server.requests[0]["model"] == "m1"
    assert server.requests[0]["dimensions"] == 2
    assert server.keys == [f"Bearer {KEY}"] * 3
    assert encoder.encode_query("four").tolist() == [4, 1]


def test_number_of_characters_per_request_is_limited(server: Server, make: Callable[..., Encoder]) -> None:
    make(BATCH_CHARACTERS="10", DIMENSIONS="2").encode([(1, "x" * 25), (2, "x" * 6), (3, "x" * 4), (4, "x")])
    assert [[len(text) for text in inputs] for inputs in server.inputs] == [[25], [6, 4], [1]]


def test_tokens_are_those_that_the_server_reports(server: Server, make: Callable[..., Encoder]) -> None:
    encoder = make(BATCH="3", DIMENSIONS="2")
    assert encoder.encode(_batch(7)).tokens == 35
    server.rejects = lambda inputs: "bad" in inputs
    with pytest.raises(RowsRejected) as caught:
        encoder.encode([(1, "a"), (2, "bad")])
    assert caught.value.encoded is not None
    assert caught.value.encoded.tokens == 5
    server.reports_tokens = False
    assert encoder.encode(_batch(7)).tokens == 0


def test_dimension_is_requested_once(server: Server, make: Callable[..., Encoder]) -> None:
    encoder = make()
    assert (encoder.dim, encoder.dim) == (3, 3)
    assert encoder.encode(_batch(2)).vectors.shape == (2, 3)
    assert server.inputs == [["dimension"], ["x", "xx"]]
    assert "dimensions" not in server.requests[0]


def test_id_and_description_need_no_request(server: Server, make: Callable[..., Encoder]) -> None:
    assert make().model_id == "openai:m1"
    assert make(DIMENSIONS="2").model_id == "openai:m1-2"
    assert "/v1/embeddings" in make().description
    assert server.requests == []


def test_configured_settings_take_precedence(server: Server, make: Callable[..., Encoder]) -> None:
    make({"model": "m2", "batch": 2}, BATCH="1", DIMENSIONS="2", API_KEY=None).encode(_batch(4))
    assert [body["model"] for body in server.requests] == ["m2", "m2"]
    assert server.keys == [None, None]


@pytest.mark.parametrize("variable", ["BASE_URL", "MODEL"])
def test_missing_variable_is_named(make: Callable[..., Encoder], variable: str) -> None:
    with pytest.raises(ModelError, match=f"Set CRDBVEC_OPENAI_{variable}"):
        _ = make(**{variable: None}).dim


def test_invalid_setting_is_rejected(make: Callable[..., Encoder]) -> None:
    with pytest.raises(ModelError, match=r"`batch: many` \(or CRDBVEC_OPENAI_BATCH\) is not valid"):
        make(BATCH="many").encode(_batch(1))
    with pytest.raises(ModelError, match="no setting `api_key`"):
        make({"api_key": KEY})
    with pytest.raises(ModelError, match="CRDBVEC_OPENAI_BASE_URL is not a valid URL"):
        make(BASE_URL="localhost/v1", BATCH="1").encode(_batch(1))


def test_request_is_retried_after_the_requested_wait(server: Server, make: Callable[..., Encoder]) -> None:
    in_the_past = format_datetime(datetime.now(UTC) - timedelta(seconds=1), usegmt=True)
    server.planned = [(429, {"Retry-After": "0.2"}, {}), (503, {"Retry-After": in_the_past}, {})]
    started = time.monotonic()
    assert make(DIMENSIONS="2").encode(_batch(1)).vectors.tolist() == [[1, 1]]
    assert len(server.requests) == 3
    assert time.monotonic() - started >= 0.2


def test_request_is_retried_after_a_server_error(server: Server, make: Callable[..., Encoder]) -> None:
    server.planned = [(500, {}, b"<html>oops</html>"), (502, {"Retry-After": "whenever"}, {})]
    assert make(DIMENSIONS="2").encode(_batch(1)).vectors.tolist() == [[1, 1]]
    assert len(server.requests) == 3


def test_overloaded_server_is_unavailable_after_all_attempts(server: Server, make: Callable[..., Encoder]) -> None:
    body: object = {"error": {"message": "slow down", "code": "rate_limit_exceeded"}}
    server.planned = [(429, {"Retry-After": "0"}, body)] * 2 + [(429, {"Retry-After": "7"}, body)]
    with pytest.raises(EncoderUnavailable, match=r"status 429 \(rate_limit_exceeded\)") as caught:
        make().encode(_batch(1))
    assert caught.value.retry_after == 7
    assert len(server.requests) == 3


def test_long_requested_wait_is_passed_to_the_caller(server: Server, make: Callable[..., Encoder]) -> None:
    in_an_hour = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    server.planned = [(503, {"Retry-After": in_an_hour}, {})]
    with pytest.raises(EncoderUnavailable) as caught:
        make().encode(_batch(1))
    assert caught.value.retry_after == pytest.approx(3600, abs=60)
    assert len(server.requests) == 1


def test_timeout_is_reported_as_unavailable(server: Server, make: Callable[..., Encoder]) -> None:
    server.delay_seconds = 0.5
    with pytest.raises(EncoderUnavailable, match=r"is unavailable \(ReadTimeout\)") as caught:
        make(TIMEOUT="0.05", TRIES="1").encode(_batch(1))
    assert caught.value.retry_after is None


def test_unavailable_server_is_reported(make: Callable[..., Encoder]) -> None:
    with pytest.raises(EncoderUnavailable, match=r"^The embeddings server at http://[^@/]+ is unavailable \(Conn"):
        make(BASE_URL="http://127.0.0.1:1/v1", TRIES="2").encode(_batch(1))


@pytest.mark.parametrize(
    ("status", "variable"), [(401, "API_KEY"), (403, "API_KEY"), (404, "MODEL"), (301, "BASE_URL")]
)
def test_configuration_rejected_by_the_server_is_a_model_error(
    server: Server, make: Callable[..., Encoder], status: int, variable: str
) -> None:
    server.planned = [(status, {}, {"error": {"message": f"wrong key {KEY}", "code": "invalid_api_key"}})]
    with pytest.raises(ModelError, match=f"CRDBVEC_OPENAI_{variable}") as caught:
        make().encode(_batch(1))
    assert KEY not in str(caught.value)
    assert len(server.requests) == 1


def test_address_without_v1_is_reported(server: Server, make: Callable[..., Encoder]) -> None:
    with pytest.raises(ModelError, match="it usually ends with /v1"):
        make(BASE_URL=server.url.removesuffix("/v1")).encode(_batch(1))


def test_text_rejected_by_the_server(server: Server, make: Callable[..., Encoder]) -> None:
    server.rejects = lambda inputs: "bad" in inputs
    encoder = make(BATCH="2")
    with pytest.raises(InputRejected) as caught:
        encoder.encode([(1, "a"), (2, "b"), (3, "bad")])
    assert isinstance(caught.value, RowsRejected)
    assert "at position 2: rejected: The model rejected the input (status 400 (invalid_value))." in str(caught.value)
    assert caught.value.encoded is not None
    assert caught.value.encoded.vectors[:, 0].tolist() == [1, 1]


def test_requests_that_succeeded_are_not_sent_again(server: Server, make: Callable[..., Encoder]) -> None:
    server.rejects = lambda inputs: "bad" in inputs
    texts = [f"text {number}" for number in range(10)]
    texts[3] = "bad"
    with pytest.raises(RowsRejected) as caught:
        make(BATCH="4", DIMENSIONS="2").encode(list(enumerate(texts)))
    assert caught.value.failures.keys() == {3}
    # The first request is halved twice; the server is not asked whether it rejects every input, once it accepted one.
    sent = [request for request in server.inputs if request != ["dimension"]]
    assert sent == [texts[:4], texts[:2], texts[2:4], texts[2:3], texts[3:4], texts[4:8], texts[8:]]
    assert server.inputs.count(["dimension"]) == 1


@pytest.mark.parametrize(
    ("status", "message"),
    [(413, "Payload too large"), (400, "maximum context length is 8192 tokens"), (422, "input is too long")],
)
def test_text_that_is_too_long(server: Server, make: Callable[..., Encoder], status: int, message: str) -> None:
    server.planned = [(status, {}, {"error": {"message": message}})]
    with pytest.raises(RowsRejected) as caught:
        make(DIMENSIONS="2").encode(_batch(1))
    assert isinstance(caught.value.failures[0], InputTooLong)


def test_request_that_is_too_long_is_halved(server: Server, make: Callable[..., Encoder]) -> None:
    server.planned = [(413, {}, {"error": {"message": "Payload too large"}})]
    assert len(make(DIMENSIONS="2").encode(_batch(2)).vectors) == 2


def test_server_that_rejects_every_input_is_a_model_error(server: Server, make: Callable[..., Encoder]) -> None:
    server.rejects = lambda inputs: True
    with pytest.raises(ModelError, match=r"rejects every input\. Check CRDBVEC_OPENAI_MODEL"):
        make(DIMENSIONS="2").encode(_batch(2))


def test_server_that_ignores_the_dimension_is_a_model_error(server: Server, make: Callable[..., Encoder]) -> None:
    server.planned = [(200, {}, {"data": [{"index": 0, "embedding": [1, 2, 3]}]})]
    with pytest.raises(ModelError, match="returns vectors of dimension 3, but CRDBVEC_OPENAI_DIMENSIONS is 2"):
        make(DIMENSIONS="2").encode(_batch(1))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<html>", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        ({"error": {"message": "secret", "code": "overloaded"}}, "has no valid `data`, `index` and `embedding`"),
        ({"vectors": []}, "has no valid `data`, `index` and `embedding`"),
        ({"data": [{"index": 0, "embedding": [1, 2]}]}, "1 vectors for 2 texts"),
        ({"data": [{"index": i, "embedding": [1, 2]} for i in (1, 1)]}, "2 vectors for 2 texts"),
        (
            {"data": [{"index": 0, "embedding": [1]}, {"index": 1, "embedding": [1, 2]}]},
            "has no valid `data`, `index` and `embedding`",
        ),
        ({"data": [{"index": 0, "embedding": 1}, {"index": 1, "embedding": 2}]}, "that are not lists of numbers"),
    ],
)
def test_response_in_another_format_is_an_unavailable_model(
    server: Server, make: Callable[..., Encoder], body: object, message: str
) -> None:
    """A proxy or a server that fails with status 200 rejects no text."""
    server.planned = [(200, {}, body)]
    with pytest.raises(EncoderUnavailable, match=message):
        make(DIMENSIONS="2", TRIES="1").encode(_batch(2))


def test_response_in_another_format_is_requested_again(server: Server, make: Callable[..., Encoder]) -> None:
    server.planned = [(200, {}, b"<html>")]
    assert len(make(DIMENSIONS="2").encode(_batch(2)).vectors) == 2


def test_vectors_of_another_length_than_before_are_an_unavailable_model(
    server: Server, make: Callable[..., Encoder]
) -> None:
    encoder = make()
    assert encoder.dim == 3
    server.dim = 4
    with pytest.raises(EncoderUnavailable, match="vectors of dimension 4, and others of another dimension"):
        encoder.encode(_batch(2))


def test_content_that_cannot_be_decoded_is_an_unavailable_model(server: Server, make: Callable[..., Encoder]) -> None:
    server.planned = [(200, {"Content-Encoding": "gzip"}, b"no gzip")]
    with pytest.raises(EncoderUnavailable, match="DecodingError"):
        make(DIMENSIONS="2", TRIES="1").encode(_batch(2))


def test_threads_share_the_model(server: Server, make: Callable[..., Encoder]) -> None:
    encoder = make()
    with ThreadPoolExecutor(8) as pool:
        vectors = pool.map(lambda n: encoder.encode([(n, "x" * n)]).vectors[0, 0], range(1, 30))
    assert list(vectors) == list(range(1, 30))
    assert server.inputs.count(["dimension"]) == 1


def test_functions_of_the_contract_return_lists(make: Callable[..., Encoder]) -> None:
    make(DIMENSIONS="2")
    module = sys.modules["crdbvec_models.openai_compatible"]
    assert module.embedding_encode("abc", verbose=True) == [3.0, 1.0]
    assert module.embedding_encode_batch(0, iter([("key", "ab")])) == [("key", [2.0, 1.0])]
