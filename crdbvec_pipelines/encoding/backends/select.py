"""Choosing the engine for the machine: PyTorch for a GPU, OpenVINO for an x86 processor, PyTorch for all else.

The choice itself imports neither: importing torch takes seconds, which a short run that OpenVINO serves must not pay.
"""

import importlib.util
import logging
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from crdbvec_pipelines.encoding.backends import Backend
from crdbvec_pipelines.encoding.errors import ModelError
from crdbvec_pipelines.encoding.pipeline import Pipeline
from crdbvec_pipelines.encoding.weights import Weights

Device = Literal["auto", "cpu", "cuda", "mps"]
Engine = Literal["auto", "torch", "openvino"]
Precision = Literal["auto", "f32"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What the user asked for.

    Attributes:
        device: Where to compute; `auto` prefers a GPU.
        engine: What to compute with; `auto` takes the fastest that is installed.
        precision: `auto` multiplies in bfloat16 or float16 where the machine is faster at it, `f32` never does.
        threads: How many processor threads to use at most; None for all.
    """

    device: Device = "auto"
    engine: Engine = "auto"
    precision: Precision = "auto"
    threads: int | None = None


def load_backend(weights: Weights, pipeline: Pipeline, options: EngineOptions) -> Backend:
    """Load a model into the engine that suits the machine and the options.

    Raises:
        ModelError: An engine that was asked for by name is not installed, or does not work on the device asked for.
    """
    device = _device(options)
    if _wants_openvino(options, device):
        from crdbvec_pipelines.encoding.backends.openvino_model import UnfaithfulConversion, load_openvino, unsupported

        reason = unsupported(pipeline, weights.directory)
        if reason is None:
            try:
                return load_openvino(weights, pipeline, options.threads, options.precision == "f32")
            except UnfaithfulConversion as finding:
                reason = str(finding)
        _log.warning("The model in %s is run by PyTorch, more slowly: %s.", weights.directory, reason)
    from crdbvec_pipelines.encoding.backends.torch import TorchBackend

    return TorchBackend(weights, device, options.threads, options.precision == "f32")


def _wants_openvino(options: EngineOptions, device: Device) -> bool:
    if options.engine == "torch":
        return False
    installed = importlib.util.find_spec("openvino") is not None
    if options.engine == "auto":
        return device == "cpu" and installed and platform.machine().lower() in ("x86_64", "amd64")
    if not installed:
        raise ModelError(
            "The setting `backend: openvino` needs OpenVINO, which is not installed: "
            "pip install 'crdbvec-pipelines[openvino]', or set `backend: auto`."
        )
    if device != "cpu":
        raise ModelError(f"The setting `backend: openvino` works on the processor, not on {device}: set `device: cpu`.")
    return True


def _device(options: EngineOptions) -> Device:
    if options.device != "auto" or options.engine == "openvino":
        return "cpu" if options.device == "auto" else options.device
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        return "mps" if _torch_sees("mps") else "cpu"
    return "cuda" if _may_have_cuda() and _torch_sees("cuda") else "cpu"


def _may_have_cuda() -> bool:
    """Say whether it is worth importing torch to ask for a GPU: there is a driver, and torch was built for one."""
    try:
        if "+cpu" in version("torch"):
            return False
    except PackageNotFoundError:
        return False
    # Linux, Windows' Linux, Windows: what NVIDIA's driver puts there.
    drivers = ("/dev/nvidiactl", "/dev/dxg", "C:/Windows/System32/nvcuda.dll")
    return any(Path(driver).exists() for driver in drivers)


def _torch_sees(device: Literal["cuda", "mps"]) -> bool:
    import torch

    return torch.cuda.is_available() if device == "cuda" else torch.backends.mps.is_available()
