"""Models of providers by LiteLLM, tested with a local server that answers as each provider documents."""

import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from crdbvec_pipelines.encoding import (
    Encoder,
    EncoderUnavailable,
    InputTooLong,
    ModelError,
    ModelRegistry,
    RowsRejected,
)
from tests.support.event_loop import event_loop_of_the_module  # noqa: F401
from tests.support.json_server import Response, json_server

KEY = "sk-very-secret"
CANARY = "canary of a row"


def _openai(vectors: list[list[float]]) -> object:
    entries = [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)]
    # In another order, which the format allows.
    return {"object": "list", "data": entries[::-1], "model": "m", "usage": {"prompt_tokens": 11, "total_tokens": 11}}


def _cohere(vectors: list[list[float]]) -> object:
    return {
        "id": "c2f8",
        "embeddings": {"float": vectors},
        "texts": [],
        "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": 11}},
        "response_type": "embeddings_by_type",
    }


def _ollama(vectors: list[list[float]]) -> object:
    return {"model": "m", "embeddings": vectors, "total_duration": 14143917, "prompt_eval_count": 11}


def _titan(vectors: list[list[float]]) -> object:
    return {"embedding": vectors[0], "inputTextTokenCount": 11}


def _vertex(vectors: list[list[float]]) -> object:
    statistics = {"token_count": 11, "truncated": False}
    return {"predictions": [{"embeddings": {"values": vector, "statistics": statistics}} for vector in vectors]}


@dataclass(frozen=True)
class Provider:
    """An API.

    Attributes:
        model: A model of the provider.
        path: What follows the address of the server in `api_base`.
        requested: The path of the request.
        respond: Returns the body of the response.
        texts: The name of the texts in the request.
        document: What the request states about texts of rows.
        query: What it states about texts of searches.
        dimensions: The name of the dimension in the request; None if LiteLLM passes none.
    """

    model: str
    path: str
    requested: str
    respond: Callable[[list[list[float]]], object]
    texts: str
    document: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    dimensions: str | None = None


COHERE_TYPES = {"input_type": "search_document"}, {"input_type": "search_query"}
PROVIDERS = [
    Provider(
        "cohere/embed-v4.0", "/v2/embed", "/v2/embed", _cohere, "texts", *COHERE_TYPES, dimensions="output_dimension"
    ),
    Provider(
        "voyage/voyage-3.5",
        "/v1/embeddings",
        "/v1/embeddings",
        _openai,
        "input",
        {"input_type": "document"},
        {"input_type": "query"},
        "output_dimension",
    ),
    Provider("ollama/all-minilm", "", "/api/embed", _ollama, "input", dimensions="dimensions"),
    Provider("openai/text-embedding-3-small", "/v1", "/v1/embeddings", _openai, "input", dimensions="dimensions"),
    Provider("mistral/mistral-embed", "/v1", "/v1/embeddings", _openai, "input"),
    Provider(
        "bedrock/cohere.embed-english-v3",
        "",
        "/model/cohere.embed-english-v3/invoke",
        _cohere,
        "texts",
        *COHERE_TYPES,
    ),
]
COHERE, VOYAGE, OLLAMA, OPENAI = PROVIDERS[:4]


@dataclass
class Server:
    """The state of the server.

    Attributes:
        address: Its address.
        provider: The provider as which it answers.
        planned: The first responses; then regular responses follow.
        requests: The path, the headers and the body of each request.
        rejects: Whether the response to these texts is status 400.
        delay_seconds: The delay of each response.
        kept: How many of the vectors a response contains; None for all.
        form_response: The response to a request whose body is not JSON.
    """

    address: str = ""
    provider: Provider = COHERE
    planned: list[Response] = field(default_factory=list)
    requests: list[tuple[str, Mapping[str, str], dict[str, Any]]] = field(default_factory=list)
    rejects: Callable[[Sequence[str]], bool] = lambda texts: False
    delay_seconds: float = 0.0
    kept: int | None = None
    form_response: object = None

    def respond(self, path: str, headers: Mapping[str, str], body: dict[str, Any]) -> Response:
        if not body:
            return 200, {"Content-Type": "application/json"}, self.form_response
        self.requests.append((path, headers, body))
        time.sleep(self.delay_seconds)
        if self.planned:
            return self.planned.pop(0)
        texts = _texts(body, self.provider)
        if self.rejects(texts):
            return 400, {}, {"message": f"bad {texts}", "error": {"message": f"bad {texts}"}}
        vectors = [[float(len(text)), 1.0, 2.0] for text in texts]
        return 200, {"Content-Type": "application/json"}, self.provider.respond(vectors[: self.kept])

    @property
    def texts(self) -> list[list[str]]:
        return [body[self.provider.texts] for _, _, body in self.requests]


def _texts(body: dict[str, Any], provider: Provider) -> list[str]:
    texts = body[provider.texts]
    if isinstance(texts, str):
        return [texts]
    return [text["content"] if isinstance(text, dict) else text for text in texts]


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()
    with json_server(lambda *request: state.respond(*request)) as state.address:
        yield state


@pytest.fixture
def make(server: Server, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Encoder]:
    """Return a function that loads a model of a provider with settings."""
    for name in ("COHERE_API_KEY", "VOYAGE_API_KEY", "OPENAI_API_KEY", "MISTRAL_API_KEY", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, KEY)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA0000")
    monkeypatch.setenv("AWS_REGION_NAME", "eu-central-1")

    def make(provider: Provider = COHERE, **settings: object) -> Encoder:
        server.provider = provider
        name = f"litellm/{provider.model}"
        given = {"api_base": server.address + provider.path, "tries": 2, **settings}
        return ModelRegistry(settings={name: given}).load(name)

    return make


def _batch(count: int) -> list[tuple[object, object]]:
    return [(number, "x" * number) for number in range(1, count + 1)]


def _quoted(error: BaseException) -> str:
    """Return everything that an error, its causes and its contexts contain."""
    parts = []
    current: BaseException | None = error
    while current is not None:
        parts += [repr(current), repr(current.args), repr(vars(current))]
        current = current.__cause__ or current.__context__
    return " ".join(parts)


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.model)
def test_rows_and_searches_are_encoded(server: Server, make: Callable[..., Encoder], provider: Provider) -> None:
    encoder = make(provider)
    encoded = encoder.encode(_batch(3))
    assert encoded.vectors.tolist() == [[1, 1, 2], [2, 1, 2], [3, 1, 2]]
    assert encoded.tokens == 11
    assert encoder.encode_query("four").tolist() == [4, 1, 2]
    assert [path for path, _, _ in server.requests] == [provider.requested] * 3
    (_, headers, document), (_, _, probe), (_, _, query) = server.requests
    assert probe[provider.texts] == ["dimension"]
    assert document.items() >= provider.document.items()
    assert query.items() >= provider.query.items()
    if provider is not OLLAMA:
        authorization = headers["Authorization"]
        assert authorization == f"Bearer {KEY}" or "AKIA0000/" in authorization


@pytest.mark.parametrize("provider", [each for each in PROVIDERS if each.dimensions], ids=lambda each: each.model)
def test_dimension_is_requested_of_the_provider(
    server: Server, make: Callable[..., Encoder], provider: Provider
) -> None:
    assert make(provider, dimensions=3).encode(_batch(1)).vectors.shape == (1, 3)
    assert [body[str(provider.dimensions)] for _, _, body in server.requests] == [3]
    with pytest.raises(ModelError, match="returns vectors of dimension 3, but `dimensions` is 2"):
        make(provider, dimensions=2).encode(_batch(1))


def test_setting_that_the_provider_does_not_support_is_a_model_error(make: Callable[..., Encoder]) -> None:
    encoder = make(PROVIDERS[4], dimensions=3)
    with pytest.raises(ModelError, match="does not support a setting") as caught:
        encoder.encode([(1, CANARY)])
    assert CANARY not in _quoted(caught.value)


def test_requests_are_limited_by_texts_and_by_tokens(server: Server, make: Callable[..., Encoder]) -> None:
    make(dimensions=3, batch=2).encode(_batch(5))
    assert [len(texts) for texts in server.texts] == [2, 2, 1]
    server.requests.clear()
    # Three bytes are one token, so the umlauts count twice.
    make(dimensions=3, batch_tokens=10).encode([(1, "x" * 40), (2, "x" * 20), (3, "x" * 10), (4, "ü" * 10)])
    assert [[len(text) for text in texts] for texts in server.texts] == [[40], [20, 10], [10]]


def test_input_types_and_prompts_can_be_set(server: Server, make: Callable[..., Encoder]) -> None:
    settings = {
        "dimensions": 3,
        "input_type": {"passage": "clustering", "query": ""},
        "prompts": {"passage": "text: ", "query": "question: "},
    }
    encoder = make(OLLAMA, **{**settings, "input_type": {}})
    encoder.encode(_batch(1))
    encoder.encode_query("x")
    assert server.texts == [["text: x"], ["question: x"]]
    server.requests.clear()
    encoder = make(VOYAGE, **settings)
    encoder.encode(_batch(1))
    encoder.encode_query("x")
    assert [body.get("input_type") for _, _, body in server.requests] == ["clustering", None]


def test_id_contains_what_changes_a_vector(make: Callable[..., Encoder], server: Server) -> None:
    first = make().model_id
    assert first == "litellm:cohere/embed-v4.0-type:search_document"
    changed = [
        make(**settings).model_id
        for settings in (
            {"dimensions": 256},
            {"input_type": {"passage": "classification"}},
            {"input_type": {"passage": ""}},
            {"prompts": {"passage": "text: "}},
        )
    ]
    assert len({first, *changed}) == 5
    same = [
        make(**settings).model_id
        for settings in ({"api_base": "http://other"}, {"batch": 1}, {"prompts": {"query": "q"}}, {"timeout": 1})
    ]
    assert {first, *same} == {first}
    assert server.requests == []


def test_text_that_is_written_like_a_picture_or_a_file_is_a_text(server: Server, make: Callable[..., Encoder]) -> None:
    """LiteLLM requests the vector of the picture for such a text, and of all other texts of the request."""
    texts = ["data:image/png;base64,AAAA", "gs://bucket/picture.png", "s3://bucket/picture.png", "files/secret"]
    make(dimensions=3).encode(list(enumerate(["plain", *texts])))
    assert server.texts == [["plain", *(f" {text}" for text in texts)]]


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.model)
def test_missing_vector_is_an_unavailable_model(
    server: Server, make: Callable[..., Encoder], provider: Provider
) -> None:
    server.kept = 1
    with pytest.raises(EncoderUnavailable, match="has 1 vectors for 3 texts"):
        make(provider, tries=1).encode(_batch(3))


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.model)
def test_rate_limit_is_waited_for(server: Server, make: Callable[..., Encoder], provider: Provider) -> None:
    """Two requests are sent and not more, so LiteLLM and its libraries retry nothing."""
    server.planned = [
        (429, {"Retry-After": "0"}, {"message": CANARY}),
        (429, {"Retry-After": "7"}, {"message": CANARY}),
    ]
    with pytest.raises(EncoderUnavailable, match="responded with status 429: it is temporarily") as caught:
        make(provider).encode([(1, CANARY)])
    assert caught.value.retry_after == 7
    assert len(server.requests) == 2
    assert CANARY not in _quoted(caught.value)
    assert KEY not in _quoted(caught.value)


@pytest.mark.parametrize("provider", [COHERE, VOYAGE, OLLAMA, OPENAI], ids=lambda provider: provider.model)
def test_request_is_repeated_after_a_server_error(
    server: Server, make: Callable[..., Encoder], provider: Provider
) -> None:
    server.planned = [(500, {"Retry-After": "0"}, b"<html>oops</html>")]
    assert len(make(provider, dimensions=3).encode(_batch(2)).vectors) == 2
    assert len(server.requests) == 2


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("provider", [COHERE, VOYAGE, OPENAI, PROVIDERS[5]], ids=lambda provider: provider.model)
def test_rejected_key_is_a_model_error(
    server: Server, make: Callable[..., Encoder], provider: Provider, status: int
) -> None:
    server.planned = [(status, {}, {"message": f"wrong key {KEY} {CANARY}"})]
    name = (
        "AWS_ACCESS_KEY_ID" if provider.model.startswith("bedrock") else f"{provider.model.split('/')[0].upper()}_API"
    )
    with pytest.raises(ModelError, match=f"status {status}: it rejected the API key. Set {name}") as caught:
        make(provider).encode([(1, CANARY)])
    assert len(server.requests) == 1
    assert KEY not in _quoted(caught.value)
    assert CANARY not in _quoted(caught.value)


def test_unknown_model_is_a_model_error(server: Server, make: Callable[..., Encoder]) -> None:
    server.planned = [(404, {}, {"message": "model 'all-minilm' not found"})]
    with pytest.raises(ModelError, match=r"status 404: the address or the model does not exist\. Check the name"):
        make(OLLAMA).encode(_batch(1))


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.model)
def test_rejected_text_fails_its_row_only(server: Server, make: Callable[..., Encoder], provider: Provider) -> None:
    server.rejects = lambda texts: any(CANARY in text for text in texts)
    with pytest.raises(RowsRejected) as caught:
        make(provider).encode([(1, "a"), (2, "b"), (3, CANARY), (4, "dddd")])
    assert caught.value.failures.keys() == {2}
    assert caught.value.failures[2].stored_text == "rejected: The model rejected the input (status 400)."
    assert CANARY not in _quoted(caught.value) + _quoted(caught.value.failures[2])
    assert caught.value.encoded is not None
    assert caught.value.encoded.vectors[:, 0].tolist() == [1, 1, 4]


def test_text_that_is_too_long_is_recorded_as_such(server: Server, make: Callable[..., Encoder]) -> None:
    message = {"error": {"message": "This model's maximum context length is 8192 tokens", "code": None}}
    server.planned = [(400, {}, message)]
    with pytest.raises(RowsRejected) as caught:
        make(OPENAI, dimensions=3).encode(_batch(1))
    assert isinstance(caught.value.failures[0], InputTooLong)


@pytest.mark.parametrize("provider", [COHERE, OLLAMA, OPENAI], ids=lambda provider: provider.model)
def test_slow_provider_is_unavailable(server: Server, make: Callable[..., Encoder], provider: Provider) -> None:
    server.delay_seconds = 1.0
    with pytest.raises(EncoderUnavailable, match=r"The provider \w+ is unavailable \(\w*Timeout\w*\)"):
        make(provider, timeout=0.1, tries=1).encode(_batch(1))
    assert len(server.requests) == 1


@pytest.mark.parametrize("provider", [COHERE, OLLAMA, OPENAI], ids=lambda provider: provider.model)
def test_unreachable_provider_is_unavailable(make: Callable[..., Encoder], provider: Provider) -> None:
    with pytest.raises(EncoderUnavailable, match=r"is unavailable \(Conn") as caught:
        make(provider, api_base="http://127.0.0.1:1", tries=1).encode([(1, CANARY)])
    assert CANARY not in _quoted(caught.value)


@pytest.mark.parametrize("body", [b"<html>", {"unexpected": CANARY}, {"embeddings": [CANARY]}, {"data": [CANARY]}])
@pytest.mark.parametrize("provider", [COHERE, VOYAGE, OLLAMA, OPENAI], ids=lambda provider: provider.model)
def test_response_in_another_format_is_an_unavailable_model(
    server: Server, make: Callable[..., Encoder], provider: Provider, body: object
) -> None:
    server.planned = [(200, {"Content-Type": "application/json"}, body)]
    with pytest.raises(EncoderUnavailable) as caught:
        make(provider, dimensions=3, tries=1).encode([(1, CANARY)])
    assert CANARY not in _quoted(caught.value)


def test_vectors_with_numbers_that_are_not_finite_are_rejected(server: Server, make: Callable[..., Encoder]) -> None:
    server.planned = [(200, {}, _cohere([[float("nan"), 1.0, 2.0]]))]
    with pytest.raises(RowsRejected, match="not finite"):
        make(dimensions=3).encode(_batch(1))


def test_nothing_is_logged_or_printed(
    server: Server,
    make: Callable[..., Encoder],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    server.rejects = lambda texts: CANARY in texts
    with caplog.at_level(logging.DEBUG):
        for provider in (COHERE, VOYAGE, OLLAMA, OPENAI):
            with pytest.raises(RowsRejected):
                make(provider).encode([(1, "a"), (2, CANARY)])
    # LiteLLM also writes from a thread of its own.
    time.sleep(0.2)
    written = "".join(capfd.readouterr()) + caplog.text
    assert CANARY not in written
    assert KEY not in written


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("litellm/cohere", {}, "names no provider or no model. Write litellm/<provider>/<name>"),
        ("litellm/coherent/embed", {"dimensions": 3}, "LiteLLM knows no provider 'coherent'"),
        ("litellm/cohere/embed-v4.0", {"api_key": KEY}, "no setting `api_key`"),
        ("litellm/cohere/embed-v4.0", {"api_base": f"https://user:{KEY}@host"}, "contains a user name or a password"),
    ],
)
def test_wrong_configuration_is_a_model_error(name: str, settings: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        ModelRegistry(settings={name: settings}).load(name).encode(_batch(1))
    assert KEY not in _quoted(caught.value)


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "litellm", None)
    with pytest.raises(ModelError, match=r"require the package litellm\. Install crdbvec-pipelines\[providers\]\."):
        ModelRegistry().load("litellm/cohere/embed-v4.0?dimensions=3").encode(_batch(1))


def test_texts_of_a_model_that_takes_one_text_per_request(server: Server, make: Callable[..., Encoder]) -> None:
    titan = Provider("bedrock/amazon.titan-embed-text-v2:0", "", "", _titan, "inputText", dimensions="dimensions")
    encoded = make(titan, dimensions=3).encode(_batch(3))
    assert encoded.vectors.tolist() == [[1, 1, 2], [2, 1, 2], [3, 1, 2]]
    assert encoded.tokens == 33
    assert [body["inputText"] for _, _, body in server.requests] == ["x", "xx", "xxx"]


def test_vertex_ai_with_the_credentials_of_a_service_account(
    server: Server, make: Callable[..., Encoder], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The token is requested at the address in the file of the credentials, and the vectors at `api_base`."""
    file = tmp_path / "credentials.json"
    file.write_text(json.dumps(_service_account(f"{server.address}/token")))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    monkeypatch.setenv("VERTEXAI_PROJECT", "project")
    monkeypatch.setenv("VERTEXAI_LOCATION", "europe-west4")
    server.form_response = {"access_token": KEY, "expires_in": 3600, "token_type": "Bearer"}
    vertex = Provider("vertex_ai/text-embedding-005", "/v1/model", "/v1/model:predict", _vertex, "instances")
    encoder = make(vertex, dimensions=3)
    assert encoder.encode(_batch(2)).vectors.tolist() == [[1, 1, 2], [2, 1, 2]]
    assert encoder.encode_query("four").tolist() == [4, 1, 2]
    (path, headers, first), (_, _, second) = server.requests
    assert path == vertex.requested
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert [each["task_type"] for each in first["instances"] + second["instances"]] == [
        "RETRIEVAL_DOCUMENT",
        "RETRIEVAL_DOCUMENT",
        "RETRIEVAL_QUERY",
    ]
    assert first["parameters"]["outputDimensionality"] == 3


def _service_account(token_uri: str) -> dict[str, str]:
    from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return {
        "type": "service_account",
        "project_id": "project",
        "private_key_id": "1",
        "private_key": key.decode(),
        "client_email": "embeddings@project.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": token_uri,
    }


def test_missing_credentials_of_vertex_ai_are_a_model_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))
    with pytest.raises(ModelError, match=r"no valid credentials for the provider vertex_ai\. Set GOOGLE_APPLICATION_C"):
        ModelRegistry().load("litellm/vertex_ai/text-embedding-005?dimensions=3").encode([(1, CANARY)])


_GUARDED = """
import socket, sys

def connect(*_):
    print("connected", file=sys.stderr)
    raise OSError("no network")

socket.socket.connect = socket.getaddrinfo = connect
from crdbvec_pipelines.encoding import ModelRegistry
model = ModelRegistry().load("litellm/cohere/embed-v4.0?dimensions=3")
assert model.dim == 3 and "search_document" in model.description and model.model_id
assert "litellm" not in sys.modules and "httpx" not in sys.modules
model.load()
assert "litellm" in sys.modules
import os
assert "FROM_DOTENV" not in os.environ
"""


def test_import_is_late_and_needs_no_network(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("FROM_DOTENV=1\n")
    done = subprocess.run(
        [sys.executable, "-c", _GUARDED],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
