"""Validation of model settings: defaults and error messages."""

import pytest
from pydantic import PositiveInt

from crdbvec_pipelines.encoding import ModelError
from crdbvec_pipelines.encoding.models.settings import ModelSettings, read_settings


class _Settings(ModelSettings):
    size: PositiveInt = 1
    name: str = ""


def test_missing_settings_have_their_defaults() -> None:
    assert read_settings(_Settings, {"name": "x"}) == _Settings(size=1, name="x")


def test_one_message_contains_all_errors() -> None:
    with pytest.raises(ModelError) as caught:
        read_settings(_Settings, {"size": "many", "siez": 3}, {"size": "MODEL_SIZE", "name": "MODEL_NAME"})
    message = str(caught.value)
    assert "The model's setting `size: many` (or MODEL_SIZE) is not valid: " in message
    assert "The model has no setting `siez`. Its settings are size, name." in message
