"""A model folder as a model of sentence-transformers, in float32 and with the changes of a `Variant`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crdbvec_pipelines.encoding.backends.loading import load_safely
from crdbvec_pipelines.encoding.backends.variant import Role, Variant
from crdbvec_pipelines.encoding.errors import ModelError

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder, SentenceTransformer

# SigLIP was trained with texts of its full length, so a shorter one has another vector.
_FULL_LENGTH = frozenset({"siglip", "siglip2"})


def load_sentence_transformer(
    directory: Path, device: str, variant: Variant | None = None, *, eager: bool = False
) -> "SentenceTransformer":
    """Load a model folder without a progress bar and without requests to the hub.

    Args:
        directory: The folder.
        device: The device to compute on.
        variant: What is changed.
        eager: Whether attention is computed step by step, which can be converted; the fused kernels return NaN for the
            padded rows of a converted graph.

    Raises:
        ModelError: The folder cannot be loaded, weights are missing, or the device does not exist.
    """
    from sentence_transformers import SentenceTransformer

    def load(options: dict[str, Any]) -> SentenceTransformer:
        return SentenceTransformer(
            str(directory), device=device, local_files_only=True, trust_remote_code=False, model_kwargs=options
        )

    model = load_safely(directory, device, load, _is_unused, eager=eager)
    _change(model, variant or Variant())
    model.eval()
    return model


def encode_texts(model: "SentenceTransformer", texts: Sequence[str], prompt: str, role: Role) -> Any:
    """Return the vectors of sentence-transformers, all texts in one batch.

    A text of a multimodal model is not given as a string, because sentence-transformers would open a text that is the
    path or the URL of a picture.
    """
    inputs = as_inputs(model, texts)
    options: dict[str, Any] = {**role_arguments(model, role), "batch_size": max(1, len(inputs))}
    return model.encode(inputs, prompt=prompt, show_progress_bar=False, **options)


def as_inputs(model: "SentenceTransformer | CrossEncoder", texts: Sequence[str]) -> list[Any]:
    """Return texts in the form in which they are given to a model: a model of pictures would open a string."""
    return list(texts) if model.modalities == ["text"] else [{"text": text} for text in texts]


def has_routes(model: "SentenceTransformer") -> bool:
    """Return whether queries and documents have modules of their own."""
    from sentence_transformers.base.modules.router import Router

    return isinstance(model[0], Router)


def role_arguments(model: "SentenceTransformer", role: Role) -> dict[str, str]:
    """Return the arguments by which a model with several routes knows the role of its inputs."""
    return {"task": role} if has_routes(model) else {}


def first_module(model: "SentenceTransformer", role: Role) -> Any:
    """Return the module that reads the texts of a role."""
    module: Any = model[0]
    if not has_routes(model):
        return module
    return module.sub_modules[module._resolve_route(task=role, modality="text")][0]


def _is_unused(model: "SentenceTransformer", parameter: str) -> bool:
    """Return whether a parameter is of the layer that BERT-like models put after the first token and ignore."""
    output = getattr(model[0], "module_output_name", "token_embeddings")
    return output == "token_embeddings" and parameter.startswith("pooler.")


def _change(model: "SentenceTransformer", variant: Variant) -> None:
    from sentence_transformers.base.modules.normalize import Normalize
    from sentence_transformers.sentence_transformer.modules import Pooling

    if variant.pooling is not None:
        _set_pooling(model, variant.pooling, Pooling)
    if variant.max_tokens is not None:
        model.max_seq_length = variant.max_tokens
    first: Any = model[0]
    config = getattr(first, "config", None)
    if config is not None and config.model_type in _FULL_LENGTH and "text" not in first.processing_kwargs:
        length = variant.max_tokens or config.text_config.max_position_embeddings
        first.processing_kwargs["text"] = {"padding": "max_length", "max_length": length}
    if variant.normalize is False:
        for name, module in list(model.named_children()):
            if isinstance(module, Normalize):
                delattr(model, name)
    is_normalized = variant.normalize or is_normalizing(model)
    if variant.dimensions is not None:
        _append(model, _truncation(variant.dimensions))
    if is_normalized and (variant.dimensions is not None or not is_normalizing(model)):
        _append(model, Normalize())


def is_normalizing(model: "SentenceTransformer") -> bool:
    """Return whether the last module scales vectors to length 1."""
    from sentence_transformers.base.modules.normalize import Normalize

    return isinstance(list(model.children())[-1], Normalize)


def _append(model: "SentenceTransformer", module: Any) -> None:
    model.add_module(str(1 + max(int(name) for name, _ in model.named_children())), module)


def _set_pooling(model: "SentenceTransformer", mode: str, pooling_class: Any) -> None:
    """Replace the pooling of a model, or add it where the model has none."""
    modules = list(model.named_children())
    first: Any = model[0]
    width = first.get_embedding_dimension()
    for name, module in modules:
        if isinstance(module, pooling_class):
            setattr(model, name, pooling_class(width, mode, include_prompt=module.include_prompt))
            return
    if getattr(first, "module_output_name", "") != "token_embeddings":
        raise ModelError(
            f"The setting `pooling: {mode}` does not apply: the model has no vectors of tokens. Remove it."
        )
    _append(model, pooling_class(width, mode))


def _truncation(dimensions: int) -> Any:
    """Return a module that keeps the first numbers of each vector."""
    import torch

    class Truncation(torch.nn.Module):
        def forward(self, features: dict[str, Any], **_: Any) -> dict[str, Any]:
            vectors = features["sentence_embedding"]
            if vectors.shape[-1] < dimensions:
                raise ModelError(
                    f"The setting `dimensions: {dimensions}` is more than the {vectors.shape[-1]} of the model."
                )
            features["sentence_embedding"] = vectors[..., :dimensions]
            return features

    return Truncation()
