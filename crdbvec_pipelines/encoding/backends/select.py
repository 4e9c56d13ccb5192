"""Choice of the backend: PyTorch on a GPU, OpenVINO on an x86 processor, PyTorch otherwise.

The choice imports neither library: importing torch takes seconds, which a short run with OpenVINO must not pay.
"""

import importlib.util
import logging
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from crdbvec_pipelines.encoding.backends import PromptedBackend
from crdbvec_pipelines.encoding.backends.inspection import Inspection, inspect_model, role_tokenizer
from crdbvec_pipelines.encoding.backends.variant import Role, Variant
from crdbvec_pipelines.encoding.errors import ModelError
from crdbvec_pipelines.encoding.weights import Weights

Device = Literal["auto", "cpu", "cuda", "mps"]
BackendName = Literal["auto", "torch", "openvino"]
Precision = Literal["auto", "f32"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BackendOptions:
    """The options of a backend.

    Attributes:
        device: The device to compute on; `auto` prefers a GPU.
        backend: The library to compute with; `auto` is the fastest one that is installed.
        precision: `auto` multiplies in bfloat16 or float16 if that is faster, `f32` never does.
        threads: The maximum number of processor threads; None for all.
        batch: The number of texts that PyTorch encodes at the same time; None for the default of the device.
    """

    device: Device = "auto"
    backend: BackendName = "auto"
    precision: Precision = "auto"
    threads: int | None = None
    batch: int | None = None


def load_backend(
    weights: Weights,
    options: BackendOptions,
    variant: Variant | None = None,
    role: Role = "document",
    inspection: Inspection | None = None,
) -> PromptedBackend:
    """Load a model into the backend that suits the machine and the options.

    Args:
        weights: The folder and the digest of the model.
        options: The options.
        variant: What is changed about the model.
        role: The role of the texts.
        inspection: What is known about the model; None reads it.

    Raises:
        ModelError: The configured backend is not installed, or does not support the device, or the model cannot be
            loaded.
    """
    variant = variant or Variant()
    device = resolve_device(options)
    uses_openvino = _should_use_openvino(options, device)
    if uses_openvino:
        inspection = inspection or inspect_model(weights, variant)
    if inspection is not None and inspection.role(role).kind == "static":
        # Reading a table is fast on every machine.
        return _load_static(inspection, role)
    if uses_openvino and inspection is not None:
        from crdbvec_pipelines.encoding.backends.openvino_model import InexactConversion, load_openvino

        try:
            return load_openvino(weights, inspection, variant, role, options.threads, options.precision == "f32")
        except InexactConversion as error:
            _log.warning("PyTorch runs the model in %s, slower than OpenVINO: %s.", weights.directory, error)
    from crdbvec_pipelines.encoding.backends.torch import TorchBackend

    return TorchBackend(weights, device, options.threads, options.precision == "f32", variant, role, options.batch)


def _load_static(inspection: Inspection, role: Role) -> PromptedBackend:
    from crdbvec_pipelines.encoding.backends.static import StaticBackend

    tokenizer = role_tokenizer(inspection, role)
    return StaticBackend(inspection.static_file(role), tokenizer, inspection.dim, inspection.is_normalized)


def _should_use_openvino(options: BackendOptions, device: Device) -> bool:
    if options.backend == "torch":
        return False
    is_installed = importlib.util.find_spec("openvino") is not None
    if options.backend == "auto":
        return device == "cpu" and is_installed and platform.machine().lower() in ("x86_64", "amd64")
    if not is_installed:
        raise ModelError(
            "The setting `backend: openvino` requires OpenVINO, which is not installed. "
            "Run `pip install 'crdbvec-pipelines[openvino]'`, or set `backend: auto`."
        )
    if device != "cpu":
        raise ModelError(f"The setting `backend: openvino` does not support `device: {device}`. Set `device: cpu`.")
    return True


def resolve_device(options: BackendOptions) -> Device:
    """Return the device to compute on: a GPU if there is one, unless the options say otherwise."""
    if options.device != "auto" or options.backend == "openvino":
        return "cpu" if options.device == "auto" else options.device
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        return "mps" if _is_available("mps") else "cpu"
    return "cuda" if _may_have_cuda() and _is_available("cuda") else "cpu"


def _may_have_cuda() -> bool:
    """Return whether torch was built for CUDA and a driver is installed; otherwise torch need not be imported."""
    try:
        if "+cpu" in version("torch"):
            return False
    except PackageNotFoundError:
        return False
    # The files of NVIDIA's driver on Linux, WSL and Windows.
    drivers = ("/dev/nvidiactl", "/dev/dxg", "C:/Windows/System32/nvcuda.dll")
    return any(Path(driver).exists() for driver in drivers)


def _is_available(device: Literal["cuda", "mps"]) -> bool:
    import torch

    return torch.cuda.is_available() if device == "cuda" else torch.backends.mps.is_available()
