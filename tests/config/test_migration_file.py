"""A model migration written into crdbvec.yaml: one key changes, and comments and layout stay."""

from pathlib import Path

import pytest

from crdbvec_pipelines.config import MigrationSpec, load_config
from crdbvec_pipelines.config.migration_file import write_migration, write_model

MIGRATION = MigrationSpec(model="new_model", second="b_second")
BLOCK = """\
# Our columns.
vectors:
  - {table: t, input: x, output: a, model: m}

  - table: t  # the second table
    input: x
    output: b
    model: "old_model"  # chosen in May
    index:
      metric: l2  # as before

# The end.
asset_prefix: [ours]
"""
FLOW = """\
vectors: [{table: t, input: x, output: b, model: {name: ./old, dimensions: 8}},
  {table: t, input: x, output: a, model: m}]
"""
SHORT = "vectors:\n- table: t\n  output: b\n  template: |\n    {x}\n    and more\n  model: old_model\n"
WINDOWS = "vectors:\r\n- table: t\r\n  input: x\r\n  output: b\r\n  model: old_model\r\n"
LAST = "vectors:\n  - table: t\n    input: x\n    model: old_model\n    output: b"


def write(folder: Path, text: str) -> Path:
    file = folder / "crdbvec.yaml"
    file.write_bytes(text.encode())
    return file


def read(file: Path) -> str:
    return file.read_bytes().decode()


@pytest.mark.parametrize("text", [BLOCK, FLOW, SHORT, WINDOWS, LAST], ids=["block", "flow", "short", "windows", "last"])
def test_start_adds_one_key_and_the_end_removes_it(tmp_path: Path, text: str) -> None:
    file = write(tmp_path, text)
    before = load_config(file)
    (entry,) = [each for each in before.vectors if each.output == "b"]
    change = write_migration(before, entry, MIGRATION)
    assert (change.is_written, str(change)) == (
        True,
        f"{file} was updated. Reload the code location of Dagster, if you use it.",
    )
    started = read(file)
    added = "migration: {model: new_model, second: b_second}"
    assert sorted(started.replace(f", {added}", "").replace(added, "").split()) == sorted(text.split())
    config = load_config(file)
    assert [each.migration for each in config.vectors if each.output == "b"] == [MIGRATION]
    second = next(each for each in config.with_second_columns().vectors if each.output == "b_second")
    assert (second.second_of, second.model, second.migration) == ("b", "new_model", None)
    assert second.index is None or second.index.metric is None
    # The same step again changes nothing.
    assert write_migration(config, entry, MIGRATION).is_written
    assert read(file) == started
    assert write_model(config, entry, "new_model").is_written
    assert [(each.model, each.migration) for each in load_config(file).vectors if each.output == "b"] == [
        ("new_model", None)
    ]
    assert write_model(config, entry, "old_model").is_written
    assert (
        read(file).replace("old_model", "").split()
        == text.replace('"old_model"', "").replace("old_model", "").replace("{name: ./old, dimensions: 8}", "").split()
    )
    assert read(file).count("\r") == text.count("\r")


MERGED = """\
vectors:
  - &first {table: t, input: x, output: b, model: m}
  - {<<: *first, output: c}
"""
OWN_ENTRY = """\
vectors:
  - {table: t, input: x, output: b, model: m}
  - {table: t, input: x, output: b_second, model: n}
"""


@pytest.mark.parametrize("text", [MERGED, OWN_ENTRY], ids=["two entries would change", "the second one has an entry"])
def test_text_that_cannot_be_changed_alone_is_kept(tmp_path: Path, text: str) -> None:
    file = write(tmp_path, text)
    config = load_config(file)
    change = write_migration(config, config.vectors[0], MIGRATION)
    assert str(change) == "Write `migration: {model: new_model, second: b_second}` into the entry of b, for Dagster."
    assert read(file) == text


def test_file_that_cannot_be_written_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path, BLOCK)
    config = load_config(file)

    def fail(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr("crdbvec_pipelines.config.migration_file.tempfile.mkstemp", fail)
    assert not write_migration(config, config.vectors[1], MIGRATION).is_written
    assert not write_migration(None, config.vectors[1], MIGRATION).is_written
    assert read(file) == BLOCK
