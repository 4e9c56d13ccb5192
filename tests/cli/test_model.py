"""`crdbvec model list` and `crdbvec model desc`, without a database and without weights."""

from pathlib import Path

from tests.cli.conftest import Invoke, Json
from tests.support.projects import write_config

BUILT_IN = ["color_histogram", "hf_st_all_minilm_l6", "openai_compatible"]


def test_built_in_models_are_listed_one_per_line(project: Path, invoke: Invoke) -> None:
    lines = [line.split("\t") for line in invoke("model", "list").stdout.splitlines()]
    assert [name for name, _ in lines] == BUILT_IN
    assert dict(lines)["hf_st_all_minilm_l6"] == "Hugging Face Sentence Transformer all-MiniLM-L6-v2"


def test_models_of_the_project_are_listed_too(project: Path, invoke: Invoke, read_json: Json) -> None:
    write_config(project)
    names = [model["name"] for model in read_json("model", "list")]
    assert names == sorted({*names, *BUILT_IN, "stub_hash"})
    assert read_json("model", "list", "-c", "crdbvec.yaml") == read_json("model", "list")


def test_model_is_described_in_a_frame_like_the_toolkit(project: Path, invoke: Invoke, read_json: Json) -> None:
    top, label, bottom, *description = invoke("model", "desc", "hf_st_all_minilm_l6").stdout.splitlines()
    assert label == "| Hugging Face Sentence Transformer all-MiniLM-L6-v2 |"
    assert top == bottom == "-" * len(label)
    assert "384-dimensional" in " ".join(description)
    assert description[-1] == "Dimension 384, metric cosine."
    facts = read_json("model", "desc", "color_histogram")
    assert set(facts) == {"name", "label", "dimension", "metric", "description"}
    assert (facts["name"], facts["dimension"]) == ("color_histogram", 64)


def test_unknown_model_is_rejected_with_a_suggestion(project: Path, invoke: Invoke) -> None:
    result = invoke("model", "desc", "hf_st_all_minilm")
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        f"Error: The model 'hf_st_all_minilm' does not exist. Available models: {', '.join(BUILT_IN)}. "
        "Did you mean hf_st_all_minilm_l6?"
    ]
