"""The model migration of an entry of `vectors`, which `crdbvec migrate` writes into the file."""

from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema

from crdbvec_pipelines.config.model_name import MODEL_SCHEMA, model_text
from crdbvec_pipelines.config.sections import ChunksSpec, Spec


class MigrationSpec(Spec):
    """The second column of a model migration."""

    model: Annotated[str, BeforeValidator(model_text), WithJsonSchema(MODEL_SCHEMA)] = Field(
        min_length=1, description="The new model."
    )
    second: str = Field(
        min_length=1,
        max_length=50,
        description="The second vector column; it has the new vectors until the switch, and the old ones after it; "
        "1 to 50 characters.",
    )
    chunks: ChunksSpec | None = Field(
        default=None, description="How the new model divides texts into chunks, if it is not as `chunks` says."
    )
