"""Which engine a model gets, by options and by what the model's folder says."""

import logging
import os
import platform
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from crdbvec_pipelines.encoding import ModelError
from crdbvec_pipelines.encoding.backends.select import EngineOptions, load_backend
from crdbvec_pipelines.encoding.backends.torch import TorchBackend
from crdbvec_pipelines.encoding.pipeline import read_pipeline
from crdbvec_pipelines.encoding.weights import Weights

ON_X86 = platform.machine().lower() in ("x86_64", "amd64")


def _engine(weights: Weights, options: EngineOptions) -> str:
    return type(load_backend(weights, read_pipeline(weights.directory), options)).__name__


def test_auto_on_a_processor(minilm_weights: Weights) -> None:
    expected = "OpenVinoBackend" if ON_X86 else "TorchBackend"
    assert _engine(minilm_weights, EngineOptions(device="cpu", threads=1)) == expected


def test_torch_when_asked_for(minilm_weights: Weights) -> None:
    assert _engine(minilm_weights, EngineOptions(device="cpu", engine="torch")) == "TorchBackend"


def test_a_model_that_openvino_is_not_tried_with_is_run_by_torch(
    minilm_weights: Weights,
    tmp_path: Path,
    texts: list[str],
    reference: NDArray[np.float32],
    caplog: pytest.LogCaptureFixture,
) -> None:
    shutil.copytree(minilm_weights.directory, tmp_path, dirs_exist_ok=True)
    modules = (tmp_path / "modules.json").read_text()
    # Dropout does nothing when encoding, but is a module that the conversion does not know.
    extra = '{"idx": 3, "name": "3", "path": "3_Dropout", "type": "sentence_transformers.models.Dropout"}]'
    (tmp_path / "modules.json").write_text(modules.rstrip().removesuffix("]") + "," + extra)
    (tmp_path / "3_Dropout").mkdir()
    (tmp_path / "3_Dropout" / "config.json").write_text('{"dropout": 0.2}')
    weights = Weights(tmp_path, minilm_weights.sha256)
    with caplog.at_level(logging.WARNING, "crdbvec_pipelines"):
        backend = load_backend(weights, read_pipeline(tmp_path), EngineOptions("cpu", "openvino"))
    assert isinstance(backend, TorchBackend)
    (record,) = caplog.records
    assert "is run by PyTorch, more slowly: its modules are transformer, pooling, normalize, dropout" in record.message
    np.testing.assert_allclose(backend.encode(texts)[0], reference, atol=1e-5)


def test_openvino_and_a_gpu_contradict_each_other(minilm_weights: Weights) -> None:
    with pytest.raises(ModelError, match="works on the processor, not on cuda: set `device: cpu`"):
        _engine(minilm_weights, EngineOptions("cuda", "openvino"))


def test_a_gpu_that_is_not_there(minilm_weights: Weights) -> None:
    with pytest.raises(ModelError, match=r"PyTorch cannot load the model in .* on mps"):
        _engine(minilm_weights, EngineOptions("mps", "torch"))


def test_openvino_that_is_not_installed(minilm_weights: Weights, tmp_path: Path) -> None:
    # An environment like this one, but for one package: links to all the others, and -S to see nothing else.
    for installed in Path(np.__file__).parents[1].iterdir():
        if not installed.name.startswith("openvino"):
            (tmp_path / installed.name).symlink_to(installed)
    root = Path(__file__).parents[2]
    source = """
        import sys
        from pathlib import Path
        from crdbvec_pipelines.encoding import ModelError
        from crdbvec_pipelines.encoding.backends.select import EngineOptions, load_backend
        from crdbvec_pipelines.encoding.pipeline import read_pipeline
        from crdbvec_pipelines.encoding.weights import Weights
        weights = Weights(Path(sys.argv[1]), "0")
        pipeline = read_pipeline(weights.directory)
        try:
            load_backend(weights, pipeline, EngineOptions("cpu", "openvino"))
        except ModelError as error:
            print(error)
        print(type(load_backend(weights, pipeline, EngineOptions("cpu"))).__name__)
    """
    done = subprocess.run(
        [sys.executable, "-S", "-c", textwrap.dedent(source), str(minilm_weights.directory)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(root), str(tmp_path)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    printed = done.stdout.splitlines()
    assert "pip install 'crdbvec-pipelines[openvino]'" in printed[0]
    assert printed[1] == "TorchBackend"
