"""What a sentence-transformers folder says of itself: its modules, pooling, window and casing, read from its own files.

The layout is that of sentence-transformers (`modules.json`, `1_Pooling/config.json`, `sentence_bert_config.json`), in
the spelling of version 6 or the one before. What is not understood is said to be so, never assumed.
"""

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
    """How a model makes one vector of a text.

    Attributes:
        modules: The class names of its modules in order, lower case.
        pooling: How token vectors become one; several modes are concatenated.
        normalized: Whether the vector is scaled to length 1.
        max_seq_length: The window in tokens, special tokens included; None when the tokenizer decides.
        lower_case: Whether texts are lower-cased before the tokenizer sees them.
        prompted: Whether every text gets a prompt in front of it by default.
        architecture: The transformer's kind, as transformers names it; empty when it is not stated.
        pad_token: The number of the token that fills up shorter texts.
    """

    modules: tuple[str, ...]
    pooling: tuple[str, ...]
    normalized: bool
    max_seq_length: int | None
    lower_case: bool
    prompted: bool
    architecture: str
    pad_token: int

    @property
    def identity(self) -> str:
        """Return what of this changes the vectors, for the model's id."""
        known = [*self.pooling, str(self.max_seq_length)] + (["normalized"] if self.normalized else [])
        return "-".join(known if self.modules[1:2] == ("pooling",) else self.modules)


def read_pipeline(directory: Path) -> Pipeline:
    """Read a sentence-transformers folder's configuration.

    Raises:
        ModelError: The folder is none of that kind, or a file of it is not JSON.
    """
    entries = _read(directory / "modules.json", required=True)
    types = [str(entry["type"]).rpartition(".")[2].lower() for entry in entries]
    folders = dict(zip(types, [directory / str(entry["path"]) for entry in entries], strict=True))
    transformer = folders.get("transformer", directory)
    window = _read(transformer / "sentence_bert_config.json")
    config = _read(transformer / "config.json")
    return Pipeline(
        modules=tuple(types),
        pooling=_pooling(_read(folders["pooling"] / "config.json")) if "pooling" in folders else (),
        normalized="normalize" in types,
        max_seq_length=window.get("max_seq_length") or _tokenizer_window(transformer, config),
        lower_case=bool(window.get("do_lower_case", False)),
        prompted=bool(_read(directory / "config_sentence_transformers.json").get("default_prompt_name")),
        architecture=str(config.get("model_type", "")),
        pad_token=int(config.get("pad_token_id") or 0),
    )


def configuration_files(directory: Path) -> list[Path]:
    """List the small files that say how a model makes vectors, its tokenizer's included."""
    return sorted(directory.glob("*.json")) + sorted(directory.glob("*/config.json"))


def weight_files(directory: Path) -> list[Path]:
    """List the files that hold a model's weights, one kind a module, as sentence-transformers would choose them.

    Raises:
        ModelError: There are none.
    """
    files: list[Path] = []
    for entry in _read(directory / "modules.json", required=True):
        folder = directory / str(entry["path"])
        files += sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
    if not files:
        raise ModelError(f"The folder {directory} holds no weights (model.safetensors or pytorch_model.bin).")
    return files


def _tokenizer_window(folder: Path, config: dict[str, Any]) -> int | None:
    """Return the window as sentence-transformers reckons it when the model's own file does not say."""
    limits = [_read(folder / "tokenizer_config.json").get("model_max_length"), config.get("max_position_embeddings")]
    stated = [int(limit) for limit in limits if limit]
    return min(stated) if len(stated) == 2 else None


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
            f"{path.parent} is not the folder of a sentence-transformers model: it holds no {path.name}."
        ) from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {type(error).__name__}.") from error
