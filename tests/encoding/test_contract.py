"""The check of the functions of a wrapper."""

from types import ModuleType

import pytest

from crdbvec_pipelines.encoding import ModelError
from crdbvec_pipelines.encoding.contract import REQUIRED, check_module


def _module(**members: object) -> ModuleType:
    module = ModuleType("wrapper")
    vars(module).update(dict.fromkeys(REQUIRED, len) | members)
    return module


def test_module_with_the_five_functions_is_accepted() -> None:
    module = _module()
    assert check_module(module, "wrapper.py") is module


def test_missing_functions_and_the_file_are_named() -> None:
    module = _module()
    del module.embedding_dim, module.embedding_encode
    with pytest.raises(
        ModelError, match=r"^wrapper\.py is not a model wrapper: it does not define embedding_dim, embedding_encode\. "
    ):
        check_module(module, "wrapper.py")


@pytest.mark.parametrize("name", ["embedding_dim", "embedding_metric"])
def test_constant_in_place_of_a_function_is_rejected(name: str) -> None:
    with pytest.raises(ModelError, match=f"{name} must be a function"):
        check_module(_module(**{name: "cosine"}), "wrapper.py")
