"""crdbvec.yaml: valid content, and the message with file, entry and remedy for invalid content."""

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
    def write_file(text: str) -> Path:
        file = tmp_path / "crdbvec.yaml"
        file.write_text(textwrap.dedent(text), encoding="utf-8")
        return file

    return write_file


def test_file_is_read_into_specs_with_defaults(write: Write) -> None:
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


def test_bundled_file_is_valid() -> None:
    assert [str(vector) for vector in load_config(bundled("crdbvec.yaml")).vectors] == ["public.gloss.gloss_vector"]


@pytest.mark.parametrize("zone", ["Berlin", "", "Europe", "europe/", "../UTC", "/etc/localtime", "UTC+1", "a\0b"])
def test_unknown_time_zone_is_one_sentence_in_the_file_and_on_the_command_line(zone: str) -> None:
    sentence = f"schedule_timezone: {zone!r} is not a time zone; write one such as UTC or Europe/Berlin."
    with pytest.raises(ConfigurationError) as caught:
        parse(vectors=entry(schedule_timezone=zone))
    assert str(caught.value) == f"crdbvec.yaml: vectors[0].{sentence}"
    with pytest.raises(ConfigurationError) as caught:
        vector_column(**ENTRY, schedule_timezone=zone)
    assert str(caught.value) == f"the command line: {sentence}"


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/Argentina/Ushuaia"])
def test_time_zone_has_a_name_of_the_iana_database(zone: str) -> None:
    (vector,) = parse(vectors=entry(schedule_timezone=zone)).vectors
    assert vector.schedule_timezone == zone


def test_nulls_only_has_no_fingerprint_column() -> None:
    (vector,) = parse(vectors=entry(staleness="nulls_only")).vectors
    assert vector.fingerprint_column is None


def test_variable_names_the_file(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write("vectors: [{table: t, input: i, output: o, model: m}]")
    monkeypatch.setenv("CRDBVEC_CONFIG", str(file))
    assert load_config().vectors[0].origin == f"{file}: vectors[0]"


def test_default_is_the_file_in_the_working_directory(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write("vectors: [{table: t, input: i, output: o, model: m}]").parent)
    assert load_config().vectors[0].origin == "crdbvec.yaml: vectors[0]"


def test_missing_file_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no configuration file .*none\.yaml; create it, or name one with"):
        load_config(tmp_path / "none.yaml")


@pytest.mark.parametrize("text", ["", "[]", "just text"])
def test_file_that_is_not_a_mapping_is_rejected(write: Write, text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"crdbvec\.yaml is empty or not a mapping; it needs at least"):
        load_config(write(text))


def test_folder_and_binary_file_are_rejected(tmp_path: Path) -> None:
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe")
    for path in (tmp_path, binary):
        with pytest.raises(ConfigurationError, match="cannot be read"):
            load_config(path)


@pytest.mark.parametrize(
    "text",
    [
        "vectors: []\nvectors: []\n",
        "vectors:\n  - {table: a, output: v, table: b}\n",
        "database:\n  url: one\n  'url': geheim\n",
    ],
)
def test_key_that_is_there_twice_is_rejected(write: Write, text: str) -> None:
    """YAML forbids it, and the last one would silently be used."""
    with pytest.raises(ConfigurationError, match=r"YAML in line \d, column \d+: a key .* is there twice") as caught:
        load_config(write(text))
    assert "geheim" not in str(caught.value)


def test_file_that_is_nested_too_deeply_is_rejected_in_one_sentence(write: Write) -> None:
    with pytest.raises(ConfigurationError, match=r"is nested too deeply to be read\."):
        load_config(write("[" * 5_000))


def test_merge_keys_may_be_overridden(write: Write) -> None:
    text = """
        vectors:
          - &first {table: public.a, input: passage, output: v, model: m}
          - {<<: *first, output: w}
        """
    assert [column.output for column in load_config(write(text)).vectors] == ["v", "w"]


def test_yaml_error_has_a_position_but_no_quotation(write: Write) -> None:
    file = write("vectors: []\ndatabase: {url: postgresql://me:secret@host/db: }}\n")
    with pytest.raises(ConfigurationError, match=r"crdbvec\.yaml is not valid YAML in line 2, column \d+: ") as caught:
        load_config(file)
    assert "secret" not in str(caught.value)


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
            "vectors[0].partitions.zzz: there is no such key; "
            "the keys here are target_rows, max_partitions, max_per_run.",
        ),
    ],
)
def test_unknown_key_is_rejected_with_a_suggestion(top: dict[str, Any], message: str) -> None:
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
        (
            {"vectors": entry(schedule="every night")},
            "vectors[0].schedule: 'every night' is not a cron expression; write one such as 0 3 * * *.",
        ),
        (
            {"vectors": entry(schedule="0 0 31 6 *")},
            "vectors[0].schedule: '0 0 31 6 *' is never due, because no such day exists; write one such as 0 3 * * *.",
        ),
        (
            {"vectors": entry(keep_runs_days=0)},
            "vectors[0].keep_runs_days: input should be greater than or equal to 1.",
        ),
        (
            {"vectors": entry(contact_sheet=True, input=["title", "body"])},
            "vectors[0]: contact_sheet shows the pictures of one input column; remove it, or the other columns.",
        ),
        (
            {"vectors": entry(contact_sheet=True, input={"template": "{body}"})},
            "vectors[0]: contact_sheet shows the pictures of one input column; remove it, or the template.",
        ),
        (
            {"vectors": entry(contact_sheet=True, long_inputs="chunks")},
            "vectors[0]: contact_sheet is for pictures, long_inputs: chunks for texts; remove one of them.",
        ),
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
            "vectors[0]: has no input column; write input: <column>, or a template that contains {column}.",
        ),
        (
            {"vectors": entry(input=None)},
            "vectors[0]: must have exactly one of input (a column, or a list of columns) and template.",
        ),
        (
            {"vectors": entry(template="{title}")},
            "vectors[0]: must have exactly one of input (a column, or a list of columns) and template.",
        ),
        (
            {"vectors": entry(output="passage")},
            "vectors[0]: the column passage cannot be both written and an input; choose another output.",
        ),
        (
            {"vectors": entry(input="v_fingerprint")},
            "vectors[0]: the column v_fingerprint cannot be both written and an input; choose another output.",
        ),
        (
            {"vectors": [ENTRY, ENTRY]},
            "two entries of vectors write public.passage.v; change the output of one of them.",
        ),
        (
            {"vectors": [ENTRY, {**ENTRY, "output": "v_fingerprint"}]},
            "two entries of vectors write public.passage.v_fingerprint; change the output of one of them.",
        ),
        ({"models": {"directories": "x"}}, "models.directories: must be a list."),
        ({"models": {"settings": {"m": 5}}}, "models.settings.m: must be a mapping."),
        (
            {"database": {"url": {"envv": "X"}}},
            "database.url: must be {env: <the variable that contains the URL>}, or a URL without a password.",
        ),
        (
            {"database": {"url": {"env": "postgresql://me:secret@host/db"}}},
            "database.url: must be {env: <the variable that contains the URL>}, or a URL without a password.",
        ),
        (
            {"database": {"url": 5}},
            "database.url: must be {env: <the variable that contains the URL>}, or a URL without a password.",
        ),
    ],
)
def test_invalid_value_has_a_one_line_message(top: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(**top)
    assert str(caught.value) == f"crdbvec.yaml: {message}"


def test_each_error_has_its_own_line() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(vectors=[{"table": "t", "input": "i"}])
    assert str(caught.value).splitlines() == [
        "crdbvec.yaml: vectors[0].output: this key is missing; add it.",
        "crdbvec.yaml: vectors[0].model: this key is missing; add it.",
    ]


def test_tables_with_the_same_name_in_different_schemas_are_different() -> None:
    config = parse(vectors=[ENTRY, {**ENTRY, "table": "archive.passage"}])
    assert len(config.vectors) == 2


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:secret@host:26257/db",
        "postgresql://me@host/db?sslmode=require&password=secret",
        "host=host user=me password=secret",
        "host=host user=me PASSWORD = 'secret'",
    ],
)
def test_password_in_the_file_is_rejected_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"database\.url: contains a password; write \{env: ") as caught:
        parse(database={"url": url})
    assert "secret" not in str(caught.value)


def test_url_without_a_password_is_accepted() -> None:
    assert parse(database={"url": "postgresql://me@host/db"}).database.read_url() == "postgresql://me@host/db"


def test_url_is_read_from_the_environment_when_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    config = parse(database={"url": {"env": "MY_URL"}})
    with pytest.raises(ConfigurationError, match="The environment variable MY_URL is not set; set it to"):
        config.database.read_url()
    monkeypatch.setenv("MY_URL", "postgresql://me:secret@host/db")
    assert config.database.read_url() == "postgresql://me:secret@host/db"


def test_model_directories_are_relative_to_the_file() -> None:
    config = parse(models={"directories": ["relative", "/absolute"]})
    assert config.models.directories == (Path("/project/relative"), Path("/absolute"))


@pytest.mark.parametrize("form", [{"template": "{title}: {body}"}, {"input": {"template": "{title}: {body}"}}])
def test_template_may_be_nested_in_input(form: dict[str, Any]) -> None:
    without = {key: value for key, value in ENTRY.items() if key != "input"}
    (vector,) = parse(vectors=[{**without, **form}]).vectors
    assert vector.input_columns == ("title", "body")
    assert vector.template_parts == (("", "title"), (": ", "body"))


@pytest.mark.parametrize("template", ["{", "a}", "{}", "{title!r}", "{title:>10}", "{title"])
def test_template_supports_plain_placeholders_only(template: str) -> None:
    with pytest.raises(ConfigurationError, match=r"plain \{column\} placeholders only; write \{\{ and \}\}"):
        vector_column(table="t", output="v", model="m", template=template)


def test_template_without_a_column_is_rejected() -> None:
    with pytest.raises(ConfigurationError, match="has no input column"):
        vector_column(table="t", output="v", model="m", template="the same for every row")


@given(st.lists(st.tuples(st.text(max_size=8), st.sampled_from(["title", "body"])), min_size=1, max_size=4))
def test_template_parts_match_the_template(pieces: list[tuple[str, str]]) -> None:
    template = "".join(literal.replace("{", "{{").replace("}", "}}") + f"{{{column}}}" for literal, column in pieces)
    vector = vector_column(table="t", output="v", model="m", template=template)
    read = "".join(literal + (f"<{column}>" if column else "") for literal, column in vector.template_parts)
    assert read == "".join(f"{literal}<{column}>" for literal, column in pieces)


def test_message_for_values_of_another_source_names_the_source() -> None:
    with pytest.raises(ConfigurationError, match=r"^the command line: batch_size: input should be"):
        vector_column(**ENTRY, batch_size=0)
