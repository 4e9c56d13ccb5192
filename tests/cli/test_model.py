"""`crdbvec model list` and `crdbvec model desc`: no database, no weights."""

from pathlib import Path

from tests.cli.conftest import Invoke, Json
from tests.support.projects import write_config

BUILT_IN = ["color_histogram", "hf_st_all_minilm_l6", "openai_compatible"]


def test_the_built_in_models_are_listed_one_a_line(project: Path, invoke: Invoke) -> None:
    lines = [line.split("\t") for line in invoke("model", "list").stdout.splitlines()]
    assert [name for name, _ in lines] == BUILT_IN
    assert dict(lines)["hf_st_all_minilm_l6"] == "Hugging Face Sentence Transformer all-MiniLM-L6-v2"


def test_the_projects_own_models_are_listed_with_them(project: Path, invoke: Invoke, read_json: Json) -> None:
    write_config(project)
    names = [model["name"] for model in read_json("model", "list")]
    assert names == sorted({*names, *BUILT_IN, "stub_hash"})
    assert read_json("model", "list", "-c", "crdbvec.yaml") == read_json("model", "list")


def test_a_model_is_described_in_a_frame_as_the_toolkit_does(project: Path, invoke: Invoke, read_json: Json) -> None:
    top, label, bottom, *description = invoke("model", "desc", "hf_st_all_minilm_l6").stdout.splitlines()
    assert label == "| Hugging Face Sentence Transformer all-MiniLM-L6-v2 |"
    assert top == bottom == "-" * len(label)
    assert "384-dimensional" in " ".join(description)
    assert description[-1] == "Dimension 384, metric cosine."
    facts = read_json("model", "desc", "color_histogram")
    assert set(facts) == {"name", "label", "dimension", "metric", "description"}
    assert (facts["name"], facts["dimension"]) == ("color_histogram", 64)


def test_an_unknown_model_is_refused_with_the_one_that_may_be_meant(project: Path, invoke: Invoke) -> None:
    result = invoke("model", "desc", "hf_st_all_minilm")
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        f"Error: There is no model 'hf_st_all_minilm'. Models: {', '.join(BUILT_IN)}. Did you mean hf_st_all_minilm_l6?"
    ]
