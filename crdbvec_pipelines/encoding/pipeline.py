"""The configuration of a sentence-transformers model folder: modules, pooling, maximum sequence length, casing.

The layout is that of sentence-transformers (`modules.json`, `1_Pooling/config.json`, `sentence_bert_config.json`), with
the keys of version 6 or of earlier versions. Unknown modules and pooling modes are reported by name.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crdbvec_pipelines.encoding.errors import ModelError

# The boolean keys of 1_Pooling/config.json before version 6, in the order in which their results are concatenated
# (sentence_transformers/sentence_transformer/modules/pooling.py).
_POOLING_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The steps by which a model computes one vector from a text.

    Attributes:
        modules: The class names of the modules in order, in lower case.
        pooling: The pooling modes that combine token vectors; the results of several modes are concatenated.
        is_normalized: Whether the vector is scaled to length 1.
        max_seq_length: The maximum number of tokens, special tokens included; None if the tokenizer decides.
        lowercases_text: Whether texts are converted to lower case before they are tokenized.
        has_default_prompt: Whether a prompt is added to every text by default.
        architecture: The `model_type` of transformers; empty if it is not specified.
        pad_token_id: The id of the padding token.
    """

    modules: tuple[str, ...]
    pooling: tuple[str, ...]
    is_normalized: bool
    max_seq_length: int | None
    lowercases_text: bool
    has_default_prompt: bool
    architecture: str
    pad_token_id: int

    @property
    def identity(self) -> str:
        """The part of the model id that contains everything here that changes the vectors."""
        steps = [*self.pooling, str(self.max_seq_length)] + (["normalized"] if self.is_normalized else [])
        return "-".join(steps if self.modules[1:2] == ("pooling",) else self.modules)


def read_pipeline(directory: Path) -> Pipeline:
    """Return the configuration of a sentence-transformers model folder.

    Raises:
        ModelError: The folder is not a sentence-transformers model, or a configuration file is not valid JSON.
    """
    entries = _read(directory / "modules.json", required=True)
    types = [str(entry["type"]).rpartition(".")[2].lower() for entry in entries]
    folders = dict(zip(types, [directory / str(entry["path"]) for entry in entries], strict=True))
    transformer = folders.get("transformer", directory)
    tokenization = _read(transformer / "sentence_bert_config.json")
    config = _read(transformer / "config.json")
    return Pipeline(
        modules=tuple(types),
        pooling=_pooling(_read(folders["pooling"] / "config.json")) if "pooling" in folders else (),
        is_normalized="normalize" in types,
        max_seq_length=tokenization.get("max_seq_length") or _tokenizer_max_length(transformer, config),
        lowercases_text=bool(tokenization.get("do_lower_case", False)),
        has_default_prompt=bool(_read(directory / "config_sentence_transformers.json").get("default_prompt_name")),
        architecture=str(config.get("model_type", "")),
        pad_token_id=int(config.get("pad_token_id") or 0),
    )


def configuration_files(directory: Path) -> list[Path]:
    """Return the configuration files of a model folder, including those of the tokenizer."""
    return sorted(directory.rglob("*.json"))


def configuration_digest(directory: Path) -> str:
    """Return the SHA-256 of the configuration files of a model folder as 64 hexadecimal digits."""
    return hashlib.sha256(b"".join(file.read_bytes() for file in configuration_files(directory))).hexdigest()


def weight_files(directory: Path) -> list[Path]:
    """Return the weight files of a model folder, the format of each module chosen as sentence-transformers does.

    Raises:
        ModelError: The folder contains no weights.
    """
    files: list[Path] = []
    for entry in _read(directory / "modules.json", required=True):
        folder = directory / str(entry["path"])
        files += sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
    if not files:
        raise ModelError(
            f"The folder {directory} contains no weights (model.safetensors or pytorch_model.bin). "
            "Set the model's `weights` to a complete model folder."
        )
    return files


def _tokenizer_max_length(folder: Path, config: dict[str, Any]) -> int | None:
    """Return the maximum length that sentence-transformers derives if sentence_bert_config.json has none."""
    limits = [_read(folder / "tokenizer_config.json").get("model_max_length"), config.get("max_position_embeddings")]
    specified = [int(limit) for limit in limits if limit]
    return min(specified) if len(specified) == 2 else None


def _pooling(config: dict[str, Any]) -> tuple[str, ...]:
    mode = config.get("pooling_mode")
    if mode is not None:
        return (mode,) if isinstance(mode, str) else tuple(mode)
    return tuple(name for flag, name in _POOLING_FLAGS.items() if config.get(flag)) or ("mean",)


def _read(path: Path, required: bool = False) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if not required:
            return {}
        raise ModelError(
            f"{path.parent} is not the folder of a sentence-transformers model: it does not contain {path.name}. "
            "Set the model's `weights` to a complete model folder."
        ) from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read ({type(error).__name__}). Restore it.") from error
