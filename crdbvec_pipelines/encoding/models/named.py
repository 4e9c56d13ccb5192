"""A model by name: the id of a repository of the hub, or a folder. No wrapper file is needed.

Creating the object loads nothing. What the model is follows from its folder (`backends.inspection`) and from the
settings next to its name.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from crdbvec_pipelines.config import Metric
from crdbvec_pipelines.encoding.backends import EncodedTexts, PromptedBackend, TokenCount
from crdbvec_pipelines.encoding.backends.inspection import Inspection, inspect_model, role_tokenizer
from crdbvec_pipelines.encoding.backends.select import BackendOptions, load_backend, resolve_device
from crdbvec_pipelines.encoding.backends.variant import Role
from crdbvec_pipelines.encoding.chunks.splitting import approximate_tokens
from crdbvec_pipelines.encoding.digest import text_digest
from crdbvec_pipelines.encoding.errors import InputRejected, ModelError
from crdbvec_pipelines.encoding.located_model import locate_model
from crdbvec_pipelines.encoding.model_folder import check_configuration
from crdbvec_pipelines.encoding.models.named_settings import NamedModelSettings
from crdbvec_pipelines.encoding.models.settings import read_settings
from crdbvec_pipelines.encoding.picture_inputs import PictureInputs
from crdbvec_pipelines.encoding.pipeline import configuration_digest
from crdbvec_pipelines.encoding.weights import Weights

if TYPE_CHECKING:
    from crdbvec_pipelines.encoding.backends.picture_tower import PictureTower


class NamedModel:
    """The functions of a model wrapper, for a model by name.

    Args:
        name: The id of a repository, as `organization/model`, or a folder.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._settings = NamedModelSettings()
        self.pictures = PictureInputs()
        """Reads the pictures that inputs of rows are, or name."""
        self._located: tuple[Weights, str | None] | None = None
        self._inspected: Inspection | None = None
        self._backends: dict[tuple[Role, int | None], PromptedBackend] = {}
        self._tower: PictureTower | None = None
        self._lock = threading.RLock()

    def embedding_configure(self, settings: Mapping[str, object]) -> None:
        """Receive the settings next to the name.

        Raises:
            ModelError: A setting is unknown, or its value is invalid.
        """
        self._settings = read_settings(NamedModelSettings, settings)
        self.pictures = PictureInputs(self._settings.max_pixels, self._settings.locations)

    def embedding_label(self) -> str:
        """Return the name."""
        return self.name

    def embedding_description(self) -> str:
        """Return what is known about the model; it is loaded if it has not been inspected yet."""
        inspection = self.inspection()
        limit = inspection.role("document").max_tokens
        sentences = [
            f"The model {self.embedding_id()}, loaded from {self._weights().directory}.",
            f"Modules: {inspection.modules}. Inputs: {', '.join(inspection.modalities)}.",
            f"Vectors {'of length 1' if inspection.is_normalized else 'that are not scaled to length 1'}.",
            f"Maximum number of tokens: {limit or 'none'}.",
        ]
        for role, label in (("document", "rows"), ("query", "searches")):
            prompt = self._prompt(cast(Role, role))
            sentences.append(f"Prompt before {label}: {prompt!r}." if prompt else f"No prompt before {label}.")
        return " ".join(sentences + self.engine())

    def engine(self) -> list[str]:
        """Return how the model is computed on this machine, as far as it has been tried, as sentences."""
        from crdbvec_pipelines.encoding.backends.openvino_model import conversion_results

        inspection = self.inspection()
        sentences = []
        for role, facts in inspection.roles.items():
            label = f"Engine ({role}): " if len(inspection.roles) > 1 else "Engine: "
            if facts.kind == "static":
                sentences.append(label + "numpy, the mean of one vector per token.")
            else:
                results = conversion_results(inspection, role)
                sentences.append(label + (" ".join(results) or "not tried yet; the first batch tries OpenVINO."))
        return sentences

    def embedding_dim(self) -> int:
        """Return the dimension of the vectors; the model is loaded if it has not been inspected yet."""
        return self.inspection().dim

    def embedding_metric(self) -> Metric:
        """Return the distance for which the model was trained; `cosine` if it does not say."""
        return self.inspection().metric

    def embedding_id(self) -> str:
        """Return the model id, which contains everything that changes the vector of a row.

        That is the commit of the repository, or the digest of a folder; the prompt before rows; dimensions, pooling,
        normalization and the maximum number of tokens; whether texts of rows name pictures. The prompt before searches
        changes no vector of a row.

        Raises:
            ModelError: The model is not on this machine and cannot be downloaded.
        """
        weights, commit = self._locate()
        if commit is not None:
            origin = f"{self.name}@{commit[:12]}"
        else:
            origin = f"folder@{weights.sha256[:12]}{configuration_digest(weights.directory)[:8]}"
        passage = self._settings.prompts.passage
        prompt = "" if passage is None else f"-passage:{text_digest(passage)[:8]}"
        names_pictures = "" if self._settings.locations is None else "-image"
        return f"{origin}{self._settings.variant.identity}{prompt}{names_pictures}"

    def embedding_backend(self, threads: int | None) -> "NamedBackend":
        """Return the backend of rows, with the weights loaded.

        Raises:
            ModelError: The model is not found or cannot be loaded, or the configured backend is not installed.
        """
        return self._of_rows(self._backend("document", threads))

    def embedding_encode(self, input_data: Any, verbose: bool = False) -> list[float]:
        """Return the vector of one input of a row; `verbose` is part of the contract and unused."""
        encoded = self._of_rows(self._loaded("document")).encode([input_data])
        for failure in encoded.failures.values():
            raise failure
        return cast("list[float]", encoded.vectors[0].tolist())

    def embedding_encode_batch(
        self, batch_index: int, batch: Iterable[tuple[Any, Any]], verbose: bool = False
    ) -> list[tuple[Any, list[float] | InputRejected]]:
        """Return (key, vector) pairs for (key, input) pairs, in the same order; `verbose` is unused."""
        pairs = list(batch)
        encoded = self._of_rows(self._loaded("document")).encode([value for _, value in pairs])
        return [
            (key, encoded.failures.get(position) or vector)
            for position, ((key, _), vector) in enumerate(zip(pairs, encoded.vectors.tolist(), strict=True))
        ]

    def embedding_encode_query(self, text: str) -> list[float]:
        """Return the vector of a search: with the prompt for queries, and the model's own modules for them."""
        vectors = self._loaded("query").encode([text], self._prompt("query")).vectors
        return cast("list[float]", vectors[0].tolist())

    def embedding_tokens(self, texts: Sequence[str]) -> list[TokenCount]:
        """Return the tokens of each input of a row, with those of the prompt; the weights are not loaded."""
        inspection = self.inspection()
        if not inspection.role("document").has_tokenizer:
            return self._loaded("document").tokens(texts)
        prompt = self._prompt("document")
        return role_tokenizer(inspection, "document").token_counts([prompt + text for text in texts])

    def embedding_token_spans(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        """Return start and end of each token of each text; those of words for a model without a tokenizer."""
        inspection = self.inspection()
        if not inspection.role("document").has_tokenizer:
            return approximate_tokens(texts)
        return role_tokenizer(inspection, "document").spans(texts)

    def add(self) -> tuple[Path, str | None]:
        """Download the model again, check it and pin it; return its folder and its commit.

        Raises:
            ModelError: The model cannot be downloaded, or cannot be used.
        """
        with self._lock:
            weights, commit = self._located = locate_model(self.name, self._settings.revision, download=True)
            self._inspected = None
            self.inspection()
            return weights.directory, commit

    def inspection(self) -> Inspection:
        """Return what is known about the model."""
        with self._lock:
            if self._inspected is None:
                self._inspected = inspect_model(
                    self._weights(),
                    self._settings.variant,
                    lambda folder: check_configuration(folder, needs_pooling=self._settings.pooling is None),
                )
            return self._inspected

    def _of_rows(self, backend: PromptedBackend) -> "NamedBackend":
        pictures = self._picture_tower if "image" in self.inspection().modalities else None
        locations = self._settings.locations
        if self._settings.modality == "image" or locations is not None:
            if pictures is None:
                raise ModelError(f"The model {self.name} does not read pictures. Remove `modality` and `pictures`.")
            if locations is not None:
                locations.check()
        return NamedBackend(
            backend,
            self._prompt("document"),
            pictures,
            only_pictures=self._settings.modality == "image",
            reads_locations=locations is not None,
        )

    def _picture_tower(self) -> "PictureTower":
        """Return the tower for pictures; it is loaded with the first picture."""
        from crdbvec_pipelines.encoding.backends.picture_tower import PictureTower

        settings = self._settings
        with self._lock:
            if self._tower is None:
                device = resolve_device(BackendOptions(settings.device))
                self._tower = PictureTower(
                    self._weights().directory,
                    self.embedding_dim(),
                    device,
                    settings.variant,
                    self.pictures,
                    settings.batch,
                )
            return self._tower

    def _prompt(self, role: Role) -> str:
        configured = self._settings.prompts.passage if role == "document" else self._settings.prompts.query
        return self.inspection().prompts[role] if configured is None else configured

    def _loaded(self, role: Role) -> PromptedBackend:
        """Return the backend of a role that was loaded first, or load one."""
        with self._lock:
            own = self._own_role(role)
            loaded = (backend for (loaded_role, _), backend in self._backends.items() if loaded_role == own)
            return next(loaded, None) or self._backend(own, None)

    def _own_role(self, role: Role) -> Role:
        return role if role in self.inspection().roles else "document"

    def _backend(self, role: Role, threads: int | None) -> PromptedBackend:
        threads = self._settings.threads or threads
        settings = self._settings
        with self._lock:
            if (role, threads) not in self._backends:
                options = BackendOptions(settings.device, settings.backend, settings.precision, threads, settings.batch)
                self._backends[role, threads] = load_backend(
                    self._weights(), options, settings.variant, role, self.inspection()
                )
            return self._backends[role, threads]

    def _weights(self) -> Weights:
        return self._locate()[0]

    def _locate(self) -> tuple[Weights, str | None]:
        """Return the folder of the model and its commit; download the model if it is not on this machine."""
        with self._lock:
            if self._located is None:
                self._located = locate_model(self.name, self._settings.revision)
            return self._located


class NamedBackend:
    """A backend that puts the prompt of rows before each text; see `Backend`.

    Args:
        backend: The backend of texts.
        prompt: The prompt.
        pictures: Returns the backend of pictures; None if the model does not read pictures.
        reads_locations: Whether a text names a picture that is read.
        only_pictures: Whether a text that does not name a picture is an error.
    """

    def __init__(
        self,
        backend: PromptedBackend,
        prompt: str,
        pictures: "Callable[[], PictureTower] | None" = None,
        *,
        reads_locations: bool = False,
        only_pictures: bool = False,
    ) -> None:
        self._backend = backend
        self._prompt = prompt
        self._pictures = pictures
        self._reads_locations = reads_locations
        self._only_pictures = only_pictures

    @property
    def reads_pictures(self) -> bool:
        """Whether an input may be the content of an image file."""
        return self._pictures is not None

    def encode(self, texts: Sequence[Any]) -> EncodedTexts:
        """Encode texts, or the contents of image files; see `Backend.encode`. All inputs have the type of the column.

        Unless the settings say so, what a text says is never interpreted: the path or the URL of a picture is a text
        like any other.

        Raises:
            ModelError: The settings say that the inputs are pictures, and not where texts may find them.
        """
        are_texts = all(isinstance(text, str) for text in texts)
        if self._pictures is not None and (self._reads_locations or not are_texts):
            return self._pictures().encode(texts)
        if self._only_pictures:
            raise ModelError(
                "The model's setting `modality: image` needs `pictures: {folders: [...]}` or `pictures: {hosts: "
                "[...]}` for a column of text, whose values name pictures. Add it, or remove `modality`."
            )
        return self._backend.encode(texts, self._prompt)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text and its prompt; see `Backend.count_tokens`."""
        return self._backend.count_tokens([self._prompt + text for text in texts])

    def tokens(self, texts: Sequence[str]) -> list[TokenCount]:
        """Return the tokens of each text and its prompt; see `TokenCount`."""
        return self._backend.tokens([self._prompt + text for text in texts])
