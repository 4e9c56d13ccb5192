"""The sources of weights: an installed package, a folder, the cache of the hub."""

import json
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from crdbvec_pipelines.encoding import ModelError
from crdbvec_pipelines.encoding.weights import Weights, WeightsPackage, locate_weights

HUB_NAME = "sentence-transformers/all-MiniLM-L6-v2"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
PACKAGE = WeightsPackage("all_minilm_l6_v2", "model.zip", SHA256)
_LOCATE_SCRIPT = f"""
    import sys
    from crdbvec_pipelines.encoding.weights import WeightsPackage, locate_weights
    print(locate_weights({HUB_NAME!r}, WeightsPackage("all_minilm_l6_v2", "model.zip", {SHA256!r})).directory)
    assert "all_minilm_l6_v2" not in sys.modules and "torch" not in sys.modules
"""


def test_package_is_unpacked_and_checked_but_not_imported(
    run_python: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRDBVEC_CACHE_DIR", str(tmp_path))
    directory = Path(run_python(_LOCATE_SCRIPT))
    assert directory.parent == tmp_path / "models"
    assert (directory / "modules.json").is_file()


def test_concurrent_processes_unpack_one_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRDBVEC_CACHE_DIR", str(tmp_path))
    command = [sys.executable, "-c", textwrap.dedent(_LOCATE_SCRIPT)]
    started = [
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
        )
        for _ in range(4)
    ]
    finished = [(*process.communicate(timeout=120), process.returncode) for process in started]
    assert [code for _, _, code in finished] == [0, 0, 0, 0], finished
    assert len({out for out, _, _ in finished}) == 1
    assert [path.name for path in (tmp_path / "models").iterdir() if path.is_dir()] == ["all-MiniLM-L6-v2-53aa51172d14"]


def test_damaged_copy_is_replaced(minilm_weights: Weights) -> None:
    weights = minilm_weights.directory / "model.safetensors"
    with weights.open("r+b") as file:
        file.truncate(1000)
    assert locate_weights(HUB_NAME, PACKAGE).sha256 == SHA256
    assert weights.stat().st_size > 1000


def test_archive_with_other_weights_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRDBVEC_CACHE_DIR", str(tmp_path))
    with pytest.raises(ModelError, match="differs from that of the published weights"):
        locate_weights(HUB_NAME, WeightsPackage("all_minilm_l6_v2", "model.zip", "0" * 64))
    assert not [path for path in (tmp_path / "models").iterdir() if path.is_dir()]


def test_unwritable_cache_folder_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("CRDBVEC_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(ModelError, match=r"cannot be written .* CRDBVEC_CACHE_DIR"):
        locate_weights(HUB_NAME, PACKAGE)


def test_configured_folder_is_used(minilm_weights: Weights, tmp_path: Path) -> None:
    copy = tmp_path / "mine"
    shutil.copytree(minilm_weights.directory, copy)
    assert locate_weights(HUB_NAME, PACKAGE, copy) == Weights(copy, SHA256)
    (copy / "model.safetensors").write_bytes(b"other weights")
    assert locate_weights(HUB_NAME, PACKAGE, copy).sha256 != SHA256


def test_digest_is_cached_until_the_file_changes(
    minilm_weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRDBVEC_CACHE_DIR", str(tmp_path / "cache"))
    locate_weights(HUB_NAME, path=minilm_weights.directory)
    (cache_file,) = (tmp_path / "cache" / "digests").iterdir()
    cached = json.loads(cache_file.read_text())
    assert cached["sha256"] == SHA256
    cache_file.write_text(json.dumps(cached | {"sha256": "from the cache"}))
    assert locate_weights(HUB_NAME, path=minilm_weights.directory).sha256 == "from the cache"
    cache_file.write_text("{")
    assert locate_weights(HUB_NAME, path=minilm_weights.directory).sha256 == SHA256


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, r"does not contain modules\.json"),
        ({"modules.json": "["}, r"modules\.json cannot be read \(JSONDecodeError\)"),
        ({"modules.json": '[{"type": "a.Transformer", "path": ""}]'}, "contains no weights"),
    ],
)
def test_folder_without_a_model_is_rejected(tmp_path: Path, files: dict[str, str], message: str) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(ModelError, match=message):
        locate_weights(HUB_NAME, path=tmp_path)


def test_missing_folder_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="Correct the model's setting `weights`"):
        locate_weights(HUB_NAME, path=tmp_path / "nowhere")


def test_hub_cache_is_used_offline_and_missing_weights_are_reported(
    run_python: Callable[..., str], minilm_weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The layout of huggingface_hub's cache: one snapshot per revision; refs/main contains the current revision.
    repository = tmp_path / "hub" / "models--sentence-transformers--all-MiniLM-L6-v2"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("c0ffee")
    shutil.copytree(minilm_weights.directory, repository / "snapshots" / "c0ffee")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    printed = run_python(
        f"""
        from crdbvec_pipelines.encoding import ModelError
        from crdbvec_pipelines.encoding.weights import locate_weights
        print(locate_weights({HUB_NAME!r}).sha256)
        try:
            locate_weights("example/no-such-model")
        except ModelError as error:
            print(error)
        """
    ).splitlines()
    assert printed[0] == SHA256
    assert printed[1].startswith("The weights of example/no-such-model are not on this machine")
    assert "Set the model's `weights`" in printed[1]
