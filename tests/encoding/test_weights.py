"""Where weights come from: the package, unpacked once even by several processes, a folder, the hub's cache."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from crdbvec_pipelines.encoding import ModelError
from crdbvec_pipelines.encoding.weights import Weights, WeightsPackage, locate

HUB_NAME = "sentence-transformers/all-MiniLM-L6-v2"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
PACKAGE = WeightsPackage("all_minilm_l6_v2", "model.zip", SHA256)
LOCATE = f"""
    import sys
    from crdbvec_pipelines.encoding.weights import WeightsPackage, locate
    print(locate({HUB_NAME!r}, WeightsPackage("all_minilm_l6_v2", "model.zip", {SHA256!r})).directory)
    assert "all_minilm_l6_v2" not in sys.modules and "torch" not in sys.modules
"""


def test_the_package_is_unpacked_and_checked_without_importing_it(
    run_python: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRDBVEC_CACHE_DIR", str(tmp_path))
    directory = Path(run_python(LOCATE))
    assert directory.parent == tmp_path / "models"
    assert (directory / "modules.json").is_file()


def test_processes_that_start_at_once_share_one_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import textwrap

    monkeypatch.setenv("CRDBVEC_CACHE_DIR", str(tmp_path))
    command = [sys.executable, "-c", textwrap.dedent(LOCATE)]
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


def test_a_damaged_copy_is_replaced(minilm_weights: Weights) -> None:
    weights = minilm_weights.directory / "model.safetensors"
    with weights.open("r+b") as file:
        file.truncate(1000)
    assert locate(HUB_NAME, PACKAGE).sha256 == SHA256
    assert weights.stat().st_size > 1000


def test_an_archive_with_other_weights_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRDBVEC_CACHE_DIR", str(tmp_path))
    with pytest.raises(ModelError, match="are not the published ones"):
        locate(HUB_NAME, WeightsPackage("all_minilm_l6_v2", "model.zip", "0" * 64))
    assert not [path for path in (tmp_path / "models").iterdir() if path.is_dir()]


def test_a_cache_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("CRDBVEC_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(ModelError, match=r"cannot be written .* CRDBVEC_CACHE_DIR"):
        locate(HUB_NAME, PACKAGE)


def test_a_folder_of_the_users(minilm_weights: Weights, tmp_path: Path) -> None:
    copy = tmp_path / "mine"
    shutil.copytree(minilm_weights.directory, copy)
    assert locate(HUB_NAME, PACKAGE, copy) == Weights(copy, SHA256)
    (copy / "model.safetensors").write_bytes(b"other weights")
    assert locate(HUB_NAME, PACKAGE, copy).sha256 != SHA256


def test_a_digest_is_remembered_until_the_file_changes(
    minilm_weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRDBVEC_CACHE_DIR", str(tmp_path / "cache"))
    locate(HUB_NAME, path=minilm_weights.directory)
    (memory,) = (tmp_path / "cache" / "digests").iterdir()
    remembered = json.loads(memory.read_text())
    assert remembered["sha256"] == SHA256
    memory.write_text(json.dumps(remembered | {"sha256": "from memory"}))
    assert locate(HUB_NAME, path=minilm_weights.directory).sha256 == "from memory"
    memory.write_text("{")
    assert locate(HUB_NAME, path=minilm_weights.directory).sha256 == SHA256


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, r"holds no modules\.json"),
        ({"modules.json": "["}, r"modules\.json cannot be read: JSONDecodeError"),
        ({"modules.json": '[{"type": "a.Transformer", "path": ""}]'}, "holds no weights"),
    ],
)
def test_a_folder_that_is_no_model(tmp_path: Path, files: dict[str, str], message: str) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(ModelError, match=message):
        locate(HUB_NAME, path=tmp_path)


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="correct the model's setting `weights`"):
        locate(HUB_NAME, path=tmp_path / "nowhere")


def test_the_hubs_cache_is_used_offline_and_else_the_remedy_is_named(
    run_python: Callable[..., str], minilm_weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The layout that huggingface_hub gives its cache: a snapshot a revision, and refs/main naming one.
    repository = tmp_path / "hub" / "models--sentence-transformers--all-MiniLM-L6-v2"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("c0ffee")
    shutil.copytree(minilm_weights.directory, repository / "snapshots" / "c0ffee")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    printed = run_python(
        f"""
        from crdbvec_pipelines.encoding import ModelError
        from crdbvec_pipelines.encoding.weights import locate
        print(locate({HUB_NAME!r}).sha256)
        try:
            locate("nobody/no-such-model")
        except ModelError as error:
            print(error)
        """
    ).splitlines()
    assert printed[0] == SHA256
    assert printed[1].startswith("The weights of nobody/no-such-model are not on this machine")
    assert "Set the model's `weights`" in printed[1]
