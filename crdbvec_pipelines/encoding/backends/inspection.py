"""What is known about a model after it has been loaded once: dimension, metric, prompts, tokenizers.

The result is stored in the cache folder, so that later processes need neither PyTorch nor the weights to know it. The
tokenizers are stored as sentence-transformers configures them, one for each role.
"""

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from crdbvec_pipelines.config import Metric
from crdbvec_pipelines.encoding.backends.sentence_model import (
    as_inputs,
    encode_texts,
    first_module,
    has_routes,
    is_normalizing,
    load_sentence_transformer,
    role_arguments,
)
from crdbvec_pipelines.encoding.backends.tokens import TextTokenizer
from crdbvec_pipelines.encoding.backends.variant import Role, Variant
from crdbvec_pipelines.encoding.cache_folder import build_once, cache_folder
from crdbvec_pipelines.encoding.errors import ModelError
from crdbvec_pipelines.encoding.pipeline import configuration_digest
from crdbvec_pipelines.encoding.weights import Weights

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

# Part of the folder name; it changes with the content.
_FORMAT = "1"
_FACTS_FILE = "facts.json"
_TOKENIZER_FILE = "tokenizer.json"
_STATIC_FILE = "static.npy"
_METRICS: dict[str, Metric] = {"cosine": "cosine", "dot": "ip", "euclidean": "l2"}
_DOCUMENT_PROMPTS = ("document", "passage", "corpus")

Kind = Literal["transformer", "static", "other"]
"""How a role computes vectors: by a network, as the mean of one vector per token, or as only PyTorch can."""


@dataclass(frozen=True, slots=True)
class RoleFacts:
    """How the texts of one role are read.

    Attributes:
        kind: How the vectors are computed.
        max_tokens: The maximum number of tokens; None if there is none.
        pad_token_id: The id of the padding token.
        padded_to: The number of tokens to which every text is padded; None for the longest of a batch.
        has_mask: Whether the model reads which tokens are padding.
        has_tokenizer: Whether the tokenizer is stored.
    """

    kind: Kind
    max_tokens: int | None
    pad_token_id: int
    padded_to: int | None
    has_mask: bool
    has_tokenizer: bool


@dataclass(frozen=True)
class Inspection:
    """What is known about a model.

    Attributes:
        folder: The folder in the cache that contains it.
        dim: The dimension of the vectors.
        metric: The distance that the vectors are made for.
        modalities: What the inputs may be, such as `text` and `image`.
        prompts: By role, the text that is put before each input.
        default_prompt: The text that the model's configuration puts before an input of no role.
        excludes_prompt: Whether the tokens of the prompt are excluded from pooling.
        is_normalized: Whether the vectors have length 1.
        modules: The modules of the model, as text.
        roles: How texts are read; `query` is missing if it is the same as `document`.
    """

    folder: Path
    dim: int
    metric: Metric
    modalities: tuple[str, ...]
    prompts: dict[Role, str]
    default_prompt: str
    excludes_prompt: bool
    is_normalized: bool
    modules: str
    roles: dict[Role, RoleFacts]

    def role(self, role: Role) -> RoleFacts:
        """Return how the texts of a role are read."""
        return self.roles.get(role, self.roles["document"])

    def file(self, role: Role, name: str) -> Path:
        """Return the path of a file of a role."""
        return self.folder / (role if role in self.roles else "document") / name

    def tokenizer_file(self, role: Role) -> Path:
        """Return the tokenizer of a role."""
        return self.file(role, _TOKENIZER_FILE)

    def static_file(self, role: Role) -> Path:
        """Return the vectors of the tokens of a static role."""
        return self.file(role, _STATIC_FILE)

    @cached_property
    def key(self) -> str:
        """The name of the folder, which identifies model, changes and libraries."""
        return self.folder.name


def inspect_model(weights: Weights, variant: Variant, check: Callable[[Path], None] = lambda _: None) -> Inspection:
    """Return what is known about a model; load it if it has not been inspected on this machine.

    Args:
        weights: The folder and the digest of the model.
        variant: What is changed about it.
        check: Called with the folder before a model is loaded for the first time; raises an error for one that must
            not be loaded.

    Raises:
        ModelError: The model cannot be loaded, or cannot be used.
    """

    def build(folder: Path) -> None:
        check(weights.directory)
        facts = _inspect(load_sentence_transformer(weights.directory, "cpu", variant), folder)
        (folder / _FACTS_FILE).write_text(json.dumps(facts), encoding="utf-8")

    libraries = f"{version('sentence-transformers')}-{version('transformers')}-{_FORMAT}"
    name = f"{weights.sha256[:16]}-{configuration_digest(weights.directory)[:8]}{variant.identity}-{libraries}"
    folder = build_once(cache_folder("inspected", name), build)
    facts = json.loads((folder / _FACTS_FILE).read_text(encoding="utf-8"))
    roles = {role: RoleFacts(**values) for role, values in facts.pop("roles").items()}
    return Inspection(folder, roles=roles, **{**facts, "modalities": tuple(facts["modalities"])})


def role_tokenizer(inspection: Inspection, role: Role) -> TextTokenizer:
    """Return the tokenizer of a role, as sentence-transformers configures it."""
    facts = inspection.role(role)
    return TextTokenizer(
        inspection.tokenizer_file(role),
        facts.max_tokens,
        pad_id=facts.pad_token_id,
        padded_to=facts.padded_to,
        has_special_tokens=facts.kind != "static",
    )


def _inspect(model: "SentenceTransformer", folder: Path) -> dict[str, Any]:
    similarity = model.similarity_fn_name
    if similarity not in _METRICS:
        raise ModelError(
            f"The model compares vectors by {similarity}, which vector indexes do not support. Choose a model for "
            f"{', '.join(_METRICS)}."
        )
    roles: list[Role] = ["document", "query"] if has_routes(model) else ["document"]
    prompts = model.prompts
    document = next((prompts[name] for name in _DOCUMENT_PROMPTS if name in prompts), None)
    default = prompts.get(model.default_prompt_name or "") or ""
    by_role: dict[Role, str] = {
        "document": default if document is None else document or "",
        "query": prompts["query"] or "" if "query" in prompts else default,
    }
    vectors = np.asarray(encode_texts(model, ["dimension"], by_role["document"], "document"))
    if not np.isfinite(vectors).all():
        raise ModelError("The model computes vectors that are not numbers (NaN). Its weights are damaged.")
    return {
        "dim": int(vectors.shape[1]),
        "metric": _METRICS[str(similarity)],
        "modalities": [str(modality) for modality in model.modalities],
        "prompts": by_role,
        "default_prompt": default,
        "excludes_prompt": any(getattr(module, "include_prompt", True) is False for module in model.modules()),
        "is_normalized": is_normalizing(model),
        "modules": ", ".join(type(module).__name__ for module in model.children()),
        "roles": {role: asdict(_inspect_role(model, role, folder / role)) for role in roles},
    }


def _inspect_role(model: "SentenceTransformer", role: Role, folder: Path) -> RoleFacts:
    """Store the tokenizer of a role, and return how its texts are read."""
    module = first_module(model, role)
    folder.mkdir()
    tokenizer = module.tokenizer
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    has_tokenizer = callable(getattr(backend, "save", None)) and hasattr(backend, "encode_batch_fast")
    if has_tokenizer:
        backend.save(str(folder / _TOKENIZER_FILE))
    kind: Kind = "other"
    if type(module).__name__ == "StaticEmbedding":
        following = _following(model, role)
        if all(name in ("Normalize", "Truncation") for name in following):
            kind = "static"
            np.save(folder / _STATIC_FILE, module.embedding.weight.detach().numpy())
        return RoleFacts(kind, None, 0, None, False, has_tokenizer)
    features = model.preprocess(as_inputs(model, ["a"]), **role_arguments(model, role))
    if has_tokenizer and set(features) >= {"input_ids"}:
        kind = "transformer"
    limit = getattr(module, "max_seq_length", None)
    max_tokens = int(limit) if limit is not None and math.isfinite(limit) and limit < 10**9 else None
    padding = (getattr(module, "processing_kwargs", None) or {}).get("text", {})
    padded_to = int(padding["max_length"]) if padding.get("padding") == "max_length" else None
    return RoleFacts(
        kind,
        min(max_tokens or padded_to, padded_to) if padded_to else max_tokens,
        int(getattr(tokenizer, "pad_token_id", 0) or 0),
        padded_to,
        "attention_mask" in features,
        has_tokenizer,
    )


def _following(model: "SentenceTransformer", role: Role) -> list[str]:
    """Return the names of the modules after the first one of a role."""
    inner: list[Any] = []
    if has_routes(model):
        router: Any = model[0]
        inner = list(router.sub_modules[router._resolve_route(task=role, modality="text")])[1:]
    return [type(module).__name__ for module in [*inner, *list(model.children())[1:]]]
