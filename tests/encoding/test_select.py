"""The choice of the backend by options and by the configuration of the model folder."""

import json
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
from crdbvec_pipelines.encoding.backends.select import BackendOptions, load_backend
from crdbvec_pipelines.encoding.backends.torch import TorchBackend
from crdbvec_pipelines.encoding.weights import Weights

ON_X86 = platform.machine().lower() in ("x86_64", "amd64")


def _backend_name(weights: Weights, options: BackendOptions) -> str:
    return type(load_backend(weights, options)).__name__


def test_auto_backend_on_a_processor(minilm_weights: Weights) -> None:
    expected = "OpenVinoBackend" if ON_X86 else "TorchBackend"
    assert _backend_name(minilm_weights, BackendOptions(device="cpu", threads=1)) == expected


def test_configured_torch_backend(minilm_weights: Weights) -> None:
    assert _backend_name(minilm_weights, BackendOptions(device="cpu", backend="torch")) == "TorchBackend"


def test_torch_runs_a_model_that_openvino_does_not_support(
    minilm_weights: Weights,
    tmp_path: Path,
    texts: list[str],
    reference: NDArray[np.float32],
    caplog: pytest.LogCaptureFixture,
) -> None:
    shutil.copytree(minilm_weights.directory, tmp_path, dirs_exist_ok=True)
    # A model whose pooling leaves out the prompt needs the number of its tokens, which the graph has no input for.
    pooling = tmp_path / "1_Pooling" / "config.json"
    pooling.write_text(json.dumps({**json.loads(pooling.read_text()), "include_prompt": False}))
    weights = Weights(tmp_path, minilm_weights.sha256)
    with caplog.at_level(logging.WARNING, "crdbvec_pipelines"):
        backend = load_backend(weights, BackendOptions("cpu", "openvino"))
    assert isinstance(backend, TorchBackend)
    (record,) = caplog.records
    assert "slower than OpenVINO: its pooling excludes the prompt" in record.message
    np.testing.assert_allclose(backend.encode(texts)[0], reference, atol=1e-5)


def test_openvino_on_a_gpu_is_rejected(minilm_weights: Weights) -> None:
    with pytest.raises(ModelError, match=r"does not support `device: cuda`\. Set `device: cpu`"):
        _backend_name(minilm_weights, BackendOptions("cuda", "openvino"))


def test_missing_gpu_is_rejected(minilm_weights: Weights) -> None:
    with pytest.raises(ModelError, match=r"PyTorch cannot load the model in .* on mps"):
        _backend_name(minilm_weights, BackendOptions("mps", "torch"))


def test_missing_openvino_is_reported(minilm_weights: Weights, tmp_path: Path) -> None:
    # This environment without one package: links to all others, and -S so that Python finds nothing else.
    for installed in Path(np.__file__).parents[1].iterdir():
        if not installed.name.startswith("openvino"):
            (tmp_path / installed.name).symlink_to(installed)
    root = Path(__file__).parents[2]
    source = """
        import sys
        from pathlib import Path
        from crdbvec_pipelines.encoding import ModelError
        from crdbvec_pipelines.encoding.backends.select import BackendOptions, load_backend
        from crdbvec_pipelines.encoding.weights import Weights
        weights = Weights(Path(sys.argv[1]), "0")
        try:
            load_backend(weights, BackendOptions("cpu", "openvino"))
        except ModelError as error:
            print(error)
        print(type(load_backend(weights, BackendOptions("cpu"))).__name__)
        from crdbvec_pipelines.encoding import ModelRegistry
        print(ModelRegistry().load(sys.argv[1]).description)
    """
    completed = subprocess.run(
        [sys.executable, "-S", "-c", textwrap.dedent(source), str(minilm_weights.directory)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(root), str(tmp_path)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr
    printed = completed.stdout.splitlines()
    assert "pip install 'crdbvec-pipelines[openvino]'" in printed[0]
    assert printed[1] == "TorchBackend"
    assert "Vectors of length 1" in printed[2]
