"""Models of the hub: download, pinning and errors, against a local server that answers like the hub."""

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest

from crdbvec_pipelines.encoding import ModelError, ModelRegistry
from tests.cli.conftest import Invoke, invoke  # noqa: F401
from tests.support.generated_models import bert, cross_encoder
from tests.support.hub import COMMIT, NEWER_COMMIT, FakeHub, fake_hub

NAME = "org/small"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "small"
    bert(folder)
    # Files that are not read: they must not be downloaded.
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.onnx").write_bytes(b"not read")
    (folder / "own_code.py").write_text("raise SystemExit")
    return folder


@pytest.fixture
def hub(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("CRDBVEC_CACHE_DIR", str(tmp_path / "cache"))
    with fake_hub() as running:
        running.models[NAME] = model
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


def test_model_is_downloaded_checked_and_pinned(
    hub: FakeHub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    invoke: Invoke,  # noqa: F811
) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke("model", "add", NAME)
    assert result.exit_code == 0, result.output
    assert "Dimension 32, metric cosine." in result.stdout
    assert f'model: {{name: "{NAME}", revision: "{COMMIT}"}}' in result.stdout
    assert {path.rpartition("/")[2] for path in hub.requests}.isdisjoint({"own_code.py", "model.onnx"})
    # From now on the commit is used, also when the hub has another one and when it is not reached.
    hub.commit = NEWER_COMMIT
    hub.requests.clear()
    encoder = ModelRegistry().load(NAME)
    assert encoder.model_id == f"{NAME}@{COMMIT[:12]}"
    assert encoder.dim == 32
    assert encoder.encode([(1, "a dog")]).vectors.any()
    assert hub.requests == []
    added = json.loads(invoke("model", "add", NAME, "--json").stdout)
    assert (added["commit"], added["dimension"], added["metric"]) == (NEWER_COMMIT, 32, "cosine")
    assert ModelRegistry().load(NAME).model_id == f"{NAME}@{NEWER_COMMIT[:12]}"
    assert ModelRegistry().load(f"{NAME}?revision={COMMIT}").model_id == f"{NAME}@{COMMIT[:12]}"


def test_model_is_downloaded_when_it_is_first_used(hub: FakeHub) -> None:
    assert ModelRegistry().load(f"{NAME}?dimensions=8").model_id == f"{NAME}@{COMMIT[:12]}-8d"
    assert f"/{NAME}/resolve/{COMMIT}/model.safetensors" in hub.requests


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("org/gated", "is gated.*Accept the conditions on its page, and set HF_TOKEN"),
        ("org/missing", "The hub has no model org/missing, or it is private"),
        (f"{NAME}?revision=v9", f"The model {NAME} has no revision v9"),
        ("org/pickled", r"are pickled \(pytorch_model\.bin\).*Only safetensors are read"),
        ("org/empty", "contains no weights"),
        ("org/bad name", "is neither the id of a model, as organization/model, nor a folder"),
    ],
)
def test_each_reason_has_its_sentence(hub: FakeHub, model: Path, tmp_path: Path, name: str, message: str) -> None:
    hub.models["org/gated"] = model
    hub.gated.add("org/gated")
    hub.models["org/pickled"] = tmp_path / "pickled"
    shutil.copytree(model, tmp_path / "pickled")
    (tmp_path / "pickled" / "model.safetensors").rename(tmp_path / "pickled" / "pytorch_model.bin")
    hub.models["org/empty"] = tmp_path / "empty"
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=message):
        _ = ModelRegistry().load(name).model_id


def test_unreachable_hub_is_reported_at_once(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    # No server listens on port 9, and 192.0.2.1 (reserved for documentation) never answers.
    for endpoint in ("http://127.0.0.1:9", "http://192.0.2.1", "http://name.invalid"):
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        for use in (lambda: ModelRegistry().load("org/other").dim, lambda: ModelRegistry().named_model("org/o").add()):
            started = time.monotonic()
            with pytest.raises(ModelError, match=r"is not on this machine, and the hub .* cannot be reached\. Run"):
                use()
            # The limit is a promise of the program, not a measure of the machine: the attempt itself ends after 1.5 s.
            assert time.monotonic() - started < 30
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE forbids to download it"):
        _ = ModelRegistry().load("org/other").dim


def test_reranker_is_downloaded_checked_and_pinned(
    hub: FakeHub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    invoke: Invoke,  # noqa: F811
) -> None:
    monkeypatch.chdir(tmp_path)
    cross_encoder(tmp_path / "cross")
    hub.models["org/cross"] = tmp_path / "cross"
    result = invoke("model", "add", "org/cross", "--reranker")
    assert result.exit_code == 0, result.output
    assert f'    rerank: {{name: "org/cross", revision: "{COMMIT}"}}\n' in result.stdout
    requests = len(hub.requests)
    # From the folder, without a request.
    (relevance,) = ModelRegistry().reranker("org/cross").relevance("a dog", ["a cat"])
    assert (0 < relevance < 1, len(hub.requests)) == (True, requests)
    result = invoke("model", "add", NAME, "--reranker")
    assert (result.exit_code, "is not a cross-encoder" in result.stderr) == (2, True)
