"""The settings of a model by name, next to its name in crdbvec.yaml."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from crdbvec_pipelines.encoding.backends.select import BackendName, Device, Precision
from crdbvec_pipelines.encoding.backends.variant import Modality, PoolingMode, Variant
from crdbvec_pipelines.encoding.models.settings import ModelSettings, Prompts
from crdbvec_pipelines.encoding.picture_locations import MAX_BYTES, TIMEOUT_SECONDS, PictureLocations
from crdbvec_pipelines.encoding.pictures import MAX_PIXELS


class PictureSettings(ModelSettings):
    """What inputs that name pictures may name, and the limits of reading them; see `PictureLocations`.

    Attributes:
        folders: The folders whose files may be read.
        hosts: The hosts from which pictures may be downloaded.
        max_bytes: The maximum number of bytes of a picture.
        timeout: The maximum number of seconds of a download.
    """

    folders: tuple[Path, ...] = ()
    hosts: tuple[Annotated[str, Field(pattern=r"^[^\s/@?#]+$")], ...] = ()
    max_bytes: PositiveInt = MAX_BYTES
    timeout: PositiveFloat = TIMEOUT_SECONDS


class NamedModelSettings(ModelSettings):
    """The settings of a model by name, next to its name in crdbvec.yaml.

    Attributes:
        revision: A branch, a tag or a commit of the repository.
        prompts: The texts that are put before inputs.
        dimensions: How many numbers of each vector are kept; for models that were trained for it (Matryoshka).
        normalize: Whether vectors are scaled to length 1.
        pooling: How the vectors of tokens are combined; required if the folder has no modules.json.
        max_tokens: The maximum number of tokens of a text.
        batch: The number of texts or pictures that PyTorch encodes at the same time.
        max_pixels: The maximum number of pixels of a picture that are decoded.
        modality: What texts of rows are: `text`, or `image` if they name pictures; `image` if `pictures` is set.
        pictures: What texts of rows that name pictures may name.
        device: The device to compute on.
        backend: The library to compute with.
        precision: `f32` never multiplies in bfloat16 or float16; it is slower.
        threads: The number of processor threads, instead of the number that the caller computes.
    """

    revision: str | None = Field(default=None, min_length=1)
    prompts: Prompts = Prompts()
    dimensions: PositiveInt | None = None
    normalize: bool | None = None
    pooling: PoolingMode | None = None
    max_tokens: PositiveInt | None = None
    batch: PositiveInt | None = None
    max_pixels: PositiveInt = MAX_PIXELS
    modality: Modality | None = None
    pictures: PictureSettings = PictureSettings()
    device: Device = "auto"
    backend: BackendName = "auto"
    precision: Precision = "auto"
    threads: PositiveInt | None = None

    @property
    def variant(self) -> Variant:
        """What the settings change about the model."""
        return Variant(self.pooling, self.dimensions, self.normalize, self.max_tokens)

    @property
    def locations(self) -> PictureLocations | None:
        """What texts of rows may name; None if they are texts."""
        given = self.pictures
        if self.modality == "text" or not (given.folders or given.hosts):
            return None
        return PictureLocations(given.folders, given.hosts, given.max_bytes, given.timeout)

    @model_validator(mode="after")
    def _check_pictures(self) -> Self:
        if self.modality == "text" and (self.pictures.folders or self.pictures.hosts):
            raise ValueError("texts of rows that name pictures have the modality image; remove one of the two")
        return self
