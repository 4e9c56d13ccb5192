"""Checks of a model folder before anything of it is loaded: safe weights, no code of its own, pooling known.

A folder comes from the internet. Pickled weights and modules of its own would run code; without weights or without a
pooling mode, libraries continue with random numbers or with a guess.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from crdbvec_pipelines.encoding.digest import combined_digest
from crdbvec_pipelines.encoding.errors import ModelError
from crdbvec_pipelines.encoding.weights import Weights

_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
# The package that implements modules without code of the folder.
_MODULES_PACKAGE = "sentence_transformers."


def folder_weights(directory: Path) -> Weights:
    """Return a folder with the digest of all its weights.

    Raises:
        ModelError: The folder does not exist, contains no model, or only weights that can run code.
    """
    if not directory.is_dir():
        raise ModelError(f"The model folder {directory} does not exist. Correct `model`.")
    if not any((directory / name).is_file() for name in ("modules.json", "config.json")):
        raise ModelError(
            f"{directory} is not a model folder: it contains neither modules.json nor config.json. Correct `model`."
        )
    files = sorted(directory.rglob("*.safetensors"))
    check_files(str(directory), (str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()))
    try:
        return Weights(directory, combined_digest(files))
    except OSError as error:
        raise ModelError(
            f"The weights in {directory} cannot be read ({error.strerror}). Check the permissions of the folder."
        ) from error


def check_files(model: str, files: Iterable[str]) -> None:
    """Check by the names of its files that a model has weights, and that none that is needed is pickled.

    Raises:
        ModelError: It has none, or they are pickled.
    """
    safe: set[str] = set()
    pickled: dict[str, str] = {}
    for file in files:
        folder, _, name = file.replace("\\", "/").rpartition("/")
        if name.endswith(".safetensors"):
            safe.add(folder)
        elif name.endswith(_PICKLED) and ("model" in name or "weight" in name):
            pickled.setdefault(folder, file)
    needed = [file for folder, file in sorted(pickled.items()) if folder not in safe]
    if needed and (not safe or any(_is_module(folder) for folder in pickled if folder not in safe)):
        raise ModelError(
            f"The weights of {model} are pickled ({needed[0]}), and reading such a file can run code. Only safetensors "
            "are read. Choose a revision with model.safetensors, or convert the files with the package safetensors."
        )
    if not safe:
        raise ModelError(f"{model} contains no weights (model.safetensors). Use a complete model.")


def check_configuration(directory: Path, *, needs_pooling: bool) -> None:
    """Check the configuration of a folder whose weights are going to be loaded.

    Args:
        directory: The folder.
        needs_pooling: Whether the folder must say how the vectors of tokens are combined.

    Raises:
        ModelError: The model needs code of its own, or does not say how the vectors of tokens are combined.
    """
    modules = _read(directory / "modules.json")
    for kind in [str(entry.get("type", "")) for entry in modules or []] + _routed_types(directory):
        if not kind.startswith(_MODULES_PACKAGE):
            raise ModelError(
                f"The model in {directory} needs code of its own (the module {kind}), which is never run. "
                "Choose a model without code of its own."
            )
    for file in sorted(directory.rglob("config.json")):
        config = _read(file)
        if isinstance(config, dict) and "model_type" in config:
            _check_architecture(directory, config)
            if modules is None and needs_pooling and not _has_towers(config):
                raise ModelError(
                    f"The model in {directory} has no modules.json, so it is not known how the vectors of its tokens "
                    "are combined. Set its `pooling` to mean, cls or lasttoken, as the documentation of the model says."
                )


def _check_architecture(directory: Path, config: dict[str, Any]) -> None:
    from transformers import CONFIG_MAPPING

    name = str(config["model_type"])
    if name not in CONFIG_MAPPING:
        own = "needs code of its own, which is never run" if config.get("auto_map") else "is unknown"
        raise ModelError(
            f"The architecture {name} of the model in {directory} {own}. Choose another model, or a newer release of "
            "transformers if it supports the architecture."
        )


def _is_module(folder: str) -> bool:
    """Return whether a folder is that of a module, such as `2_Dense`."""
    return folder.rpartition("/")[2][:1].isdigit() or folder == ""


def _has_towers(config: dict[str, Any]) -> bool:
    """Return whether a model has a tower for texts and one for pictures, which combine tokens by themselves."""
    return "text_config" in config and "vision_config" in config


def _routed_types(directory: Path) -> list[str]:
    types: list[str] = []
    for file in sorted(directory.rglob("router_config.json")):
        content = _read(file)
        if isinstance(content, dict):
            types += [str(kind) for kind in content.get("types", {}).values()]
    return types


def _read(path: Path) -> Any:
    """Return the content of a JSON file; None if it does not exist."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read ({type(error).__name__}). Restore it.") from error
