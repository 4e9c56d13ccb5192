"""Fixtures of the tests of built-in models: a registry without a configuration."""

import pytest

from crdbvec_pipelines.encoding import ModelRegistry


@pytest.fixture
def registry() -> ModelRegistry:
    return ModelRegistry()
