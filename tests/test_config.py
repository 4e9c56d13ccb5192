"""crdbvec.yaml: what may be written, and the sentence that names file, entry and remedy for what may not."""

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdbvec_pipelines.bundled import bundled
from crdbvec_pipelines.config import ProjectConfig, load_config, parse_config, vector_column
from crdbvec_pipelines.errors import ConfigurationError
from crdbvec_pipelines.naming import TableName

ENTRY = {"table": "public.passage", "input": "passage", "output": "v", "model": "m"}
Write = Callable[[str], Path]


def parse(**top: Any) -> ProjectConfig:
    return parse_config({"vectors": [ENTRY], **top}, "crdbvec.yaml", Path("/project"))


def entry(**values: Any) -> list[dict[str, Any]]:
    return [{**ENTRY, **values}]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        file = tmp_path / "crdbvec.yaml"
        file.write_text(textwrap.dedent(text), encoding="utf-8")
        return file

    return write


def test_a_file_is_read_into_specs_with_defaults(write: Write) -> None:
    config = load_config(
        write(
            """
            database: {url: {env: CRDBVEC_URL}}
            vectors:
              - table: sales.Passage
                input: [title, body]
                output: passage_vector
                model: hf_st_all_minilm_l6
                batch_size: 100
                workers: 2
                partitions: {target_rows: 1000}
            """
        )
    )
    (vector,) = config.vectors
    assert vector.table == TableName("sales", "Passage")
    assert vector.input_columns == ("title", "body")
    assert (vector.batch_size, vector.workers, vector.partitions.target_rows) == (100, 2, 1000)
    assert (vector.staleness, vector.manage_schema) == ("fingerprint", True)
    assert vector.fingerprint_column == "passage_vector_fingerprint"
    assert str(vector) == "sales.Passage.passage_vector"


def test_the_file_that_ships_is_valid() -> None:
    assert [str(vector) for vector in load_config(bundled("crdbvec.yaml")).vectors] == ["public.gloss.gloss_vector"]


def test_nulls_only_keeps_no_fingerprint() -> None:
    (vector,) = parse(vectors=entry(staleness="nulls_only")).vectors
    assert vector.fingerprint_column is None


def test_the_variable_names_the_file_that_is_read(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write("vectors: [{table: t, input: i, output: o, model: m}]")
    monkeypatch.setenv("CRDBVEC_CONFIG", str(file))
    assert load_config().vectors[0].origin == f"{file}: vectors[0]"


def test_without_the_variable_the_working_directory_has_it(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write("vectors: [{table: t, input: i, output: o, model: m}]").parent)
    assert load_config().vectors[0].origin == "crdbvec.yaml: vectors[0]"


def test_a_missing_file_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no configuration file .*none\.yaml; create it, or name one with"):
        load_config(tmp_path / "none.yaml")


@pytest.mark.parametrize("text", ["", "[]", "just text"])
def test_a_file_that_is_no_mapping_is_refused(write: Write, text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"crdbvec\.yaml is empty or not a mapping; it needs at least"):
        load_config(write(text))


def test_a_folder_or_a_binary_file_is_no_configuration(tmp_path: Path) -> None:
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe")
    for path in (tmp_path, binary):
        with pytest.raises(ConfigurationError, match="cannot be read"):
            load_config(path)


def test_broken_yaml_is_located_and_not_quoted(write: Write) -> None:
    file = write("vectors: []\ndatabase: {url: postgresql://me:geheim@host/db: }}\n")
    with pytest.raises(ConfigurationError, match=r"crdbvec\.yaml is not valid YAML in line 2, column \d+: ") as caught:
        load_config(file)
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    ("top", "message"),
    [
        ({"vector": []}, "vector: there is no such key; did you mean vectors?"),
        ({"vectors": entry(outptu="x")}, "vectors[0].outptu: there is no such key; did you mean output?"),
        ({"database": {"uri": "x"}}, "database.uri: there is no such key; did you mean url?"),
        ({"models": {"directory": []}}, "models.directory: there is no such key; did you mean directories?"),
        (
            {"vectors": entry(partitions={"target_row": 5})},
            "vectors[0].partitions.target_row: there is no such key; did you mean target_rows?",
        ),
        (
            {"vectors": entry(partitions={"zzz": 5})},
            "vectors[0].partitions.zzz: there is no such key; the keys here are target_rows, max_partitions.",
        ),
    ],
)
def test_an_unknown_key_is_refused_with_a_suggestion(top: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(**top)
    assert str(caught.value) == f"crdbvec.yaml: {message}"


@pytest.mark.parametrize(
    ("top", "message"),
    [
        ({"vectors": []}, "vectors: must have at least one entry."),
        ({"vectors": "x"}, "vectors: must be a list."),
        ({"vectors": ["x"]}, "vectors[0]: must be a mapping."),
        ({"vectors": entry(table=3)}, "vectors[0].table: must be a name like public.passage."),
        ({"vectors": entry(batch_size=0)}, "vectors[0].batch_size: input should be greater than or equal to 1."),
        ({"vectors": entry(workers=65)}, "vectors[0].workers: input should be less than or equal to 64."),
        (
            {"vectors": entry(output="x" * 51)},
            "vectors[0].output: string should have at most 50 characters.",
        ),
        (
            {"vectors": entry(input=5)},
            "vectors[0].input: must be a column, a list of columns, or {template: ...}.",
        ),
        (
            {"vectors": entry(input=["title", ""])},
            "vectors[0].input: must be a column, a list of columns, or {template: ...}.",
        ),
        (
            {"vectors": entry(input=[])},
            "vectors[0]: names no input column; write input: <column> or a template with {column} in it.",
        ),
        (
            {"vectors": entry(input=None)},
            "vectors[0]: needs exactly one of input (a column, or a list of columns) and template.",
        ),
        (
            {"vectors": entry(template="{title}")},
            "vectors[0]: needs exactly one of input (a column, or a list of columns) and template.",
        ),
        (
            {"vectors": entry(output="passage")},
            "vectors[0]: the column passage is written and also an input; name another output.",
        ),
        (
            {"vectors": entry(input="v_fingerprint")},
            "vectors[0]: the column v_fingerprint is written and also an input; name another output.",
        ),
        (
            {"vectors": [ENTRY, ENTRY]},
            "two entries of vectors write public.passage.v; give one another output.",
        ),
        (
            {"vectors": [ENTRY, {**ENTRY, "output": "v_fingerprint"}]},
            "two entries of vectors write public.passage.v_fingerprint; give one another output.",
        ),
        ({"models": {"directories": "x"}}, "models.directories: must be a list."),
        ({"models": {"settings": {"m": 5}}}, "models.settings.m: must be a mapping."),
        (
            {"database": {"url": {"envv": "X"}}},
            "database.url: must be {env: <the variable that holds the URL>}, or a URL without a password.",
        ),
        (
            {"database": {"url": 5}},
            "database.url: must be {env: <the variable that holds the URL>}, or a URL without a password.",
        ),
    ],
)
def test_an_impossible_value_is_one_sentence(top: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(**top)
    assert str(caught.value) == f"crdbvec.yaml: {message}"


def test_each_fault_has_a_line_of_its_own() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(vectors=[{"table": "t", "input": "i"}])
    assert str(caught.value).splitlines() == [
        "crdbvec.yaml: vectors[0].output: this key is missing; add it.",
        "crdbvec.yaml: vectors[0].model: this key is missing; add it.",
    ]


def test_two_tables_of_one_name_in_two_schemas_are_two() -> None:
    config = parse(vectors=[ENTRY, {**ENTRY, "table": "archive.passage"}])
    assert len(config.vectors) == 2


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:geheim@host:26257/db",
        "postgresql://me@host/db?sslmode=require&password=geheim",
        "host=host user=me password=geheim",
        "host=host user=me PASSWORD = 'geheim'",
    ],
)
def test_a_password_in_the_file_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"database\.url: holds a password; write \{env: ") as caught:
        parse(database={"url": url})
    assert "geheim" not in str(caught.value)


def test_a_url_without_password_may_stand_in_the_file() -> None:
    assert parse(database={"url": "postgresql://me@host/db"}).database.read_url() == "postgresql://me@host/db"


def test_the_url_is_read_from_the_environment_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    config = parse(database={"url": {"env": "MY_URL"}})
    with pytest.raises(ConfigurationError, match="The environment variable MY_URL is not set; set it to"):
        config.database.read_url()
    monkeypatch.setenv("MY_URL", "postgresql://me:geheim@host/db")
    assert config.database.read_url() == "postgresql://me:geheim@host/db"


def test_model_directories_are_relative_to_the_file() -> None:
    config = parse(models={"directories": ["mine", "/elsewhere"]})
    assert config.models.directories == (Path("/project/mine"), Path("/elsewhere"))


@pytest.mark.parametrize("spelling", [{"template": "{title}: {body}"}, {"input": {"template": "{title}: {body}"}}])
def test_a_template_is_an_input_either_way(spelling: dict[str, Any]) -> None:
    without = {key: value for key, value in ENTRY.items() if key != "input"}
    (vector,) = parse(vectors=[{**without, **spelling}]).vectors
    assert vector.input_columns == ("title", "body")
    assert vector.template_parts == (("", "title"), (": ", "body"))


@pytest.mark.parametrize("template", ["{", "a}", "{}", "{title!r}", "{title:>10}", "{title"])
def test_a_template_takes_plain_placeholders_only(template: str) -> None:
    with pytest.raises(ConfigurationError, match=r"plain \{column\} placeholders only; write \{\{ and \}\}"):
        vector_column(table="t", output="v", model="m", template=template)


def test_a_template_without_a_column_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="names no input column"):
        vector_column(table="t", output="v", model="m", template="the same for every row")


@given(st.lists(st.tuples(st.text(max_size=8), st.sampled_from(["title", "body"])), min_size=1, max_size=4))
def test_a_template_is_read_as_it_was_written(pieces: list[tuple[str, str]]) -> None:
    template = "".join(literal.replace("{", "{{").replace("}", "}}") + f"{{{column}}}" for literal, column in pieces)
    vector = vector_column(table="t", output="v", model="m", template=template)
    read = "".join(literal + (f"<{column}>" if column else "") for literal, column in vector.template_parts)
    assert read == "".join(f"{literal}<{column}>" for literal, column in pieces)


def test_values_from_elsewhere_name_where_they_come_from() -> None:
    with pytest.raises(ConfigurationError, match=r"^the command line: batch_size: input should be"):
        vector_column(**ENTRY, batch_size=0)
