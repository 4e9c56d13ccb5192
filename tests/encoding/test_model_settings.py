"""Settings from the configuration: what is filled in, what is refused and in which words."""

import pytest
from pydantic import PositiveInt

from crdbvec_pipelines.encoding import ModelError
from crdbvec_pipelines.encoding.settings import ModelSettings, read_settings


class _Settings(ModelSettings):
    size: PositiveInt = 1
    name: str = ""


def test_defaults_are_filled_in() -> None:
    assert read_settings(_Settings, {"name": "x"}) == _Settings(size=1, name="x")


def test_everything_wrong_is_said_at_once() -> None:
    with pytest.raises(ModelError) as caught:
        read_settings(_Settings, {"size": "many", "siez": 3}, {"size": "MODEL_SIZE", "name": "MODEL_NAME"})
    message = str(caught.value)
    assert "The model's setting `size: many` (or MODEL_SIZE) is not valid: " in message
    assert "The model has no setting `siez`: its settings are size, name." in message
