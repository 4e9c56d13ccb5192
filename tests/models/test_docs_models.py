"""docs/models.md: its wrappers work, and it describes every model, setting and function."""

import re
from pathlib import Path

import pytest

from crdbvec_pipelines.encoding import ModelRegistry, Reason, RowsRejected
from crdbvec_pipelines.encoding.contract import REQUIRED, OptionalFunctions
from crdbvec_pipelines.encoding.models.named_settings import NamedModelSettings
from crdbvec_pipelines.encoding.models.openai_model import OpenAISettings
from crdbvec_pipelines.encoding.models.provider_model import ProviderSettings
from crdbvec_pipelines.encoding.models.sentence_transformer import SentenceTransformerSettings

DOCS = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
WRAPPERS = re.findall(r"```python\n(.*?)```", DOCS, re.DOTALL)


def test_smallest_wrapper_encodes(tmp_path: Path) -> None:
    (tmp_path / "letters.py").write_text(WRAPPERS[0])
    letters = ModelRegistry([tmp_path]).load("letters")
    assert letters.encode([(1, "Abba"), (2, "zoo")]).vectors[:, [0, 1, 25]].tolist() == [[2, 2, 0], [0, 0, 1]]


def test_wrapper_states_which_rows_fail(tmp_path: Path) -> None:
    # The example is part of a wrapper: the other functions are those of the smallest one.
    (tmp_path / "pdf.py").write_text(WRAPPERS[0].replace("input_data.lower()", "str(input_data)") + WRAPPERS[1])
    with pytest.raises(RowsRejected) as caught:
        ModelRegistry([tmp_path]).load("pdf").encode([(1, b"%PDF-1"), (2, b"words")])
    assert [failure.reason for failure in caught.value.failures.values()] == [Reason.UNSUPPORTED_FORMAT]


@pytest.mark.parametrize("reason", list(Reason))
def test_reason_is_documented(reason: Reason) -> None:
    assert f"| `{reason.value}` | {reason.sentence} |" in DOCS


def test_wrapper_of_another_model_loads(tmp_path: Path) -> None:
    (tmp_path / "mpnet.py").write_text(WRAPPERS[2])
    assert ModelRegistry([tmp_path], {"mpnet": {"device": "cpu"}}).load("mpnet").dim == 768


@pytest.mark.parametrize(
    "name",
    [
        *ModelRegistry().names(),
        *SentenceTransformerSettings.model_fields,
        *NamedModelSettings.model_fields,
        *ProviderSettings.model_fields,
        *(f"CRDBVEC_OPENAI_{name.upper()}" for name in OpenAISettings.model_fields),
        "CRDBVEC_OPENAI_API_KEY",
        "CRDBVEC_CACHE_DIR",
        "max_pixels",
    ],
)
def test_name_is_documented(name: str) -> None:
    assert f"`{name}`" in DOCS


@pytest.mark.parametrize("name", [*REQUIRED, *(name for name in vars(OptionalFunctions) if name.startswith("emb"))])
def test_function_is_documented(name: str) -> None:
    assert f"| `{name}(" in DOCS
