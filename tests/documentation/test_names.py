"""What the documents name exists: commands, options, variables, Python names, jobs, targets of make, files."""

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import click
import dagster as dg
import pytest
import yaml

from crdbvec_pipelines.cli import main
from crdbvec_pipelines.config import load_config, parse_config
from crdbvec_pipelines.orchestration.build import build_definitions
from crdbvec_pipelines.refresh import spans
from docsite.reference.command_line import commands
from docsite.reference.configuration import keys
from docsite.reference.dagster_objects import CHECKS
from tests.documentation.documents import DOCUMENTS, Block, blocks, inline_codes, invocations
from tests.support.processes import ROOT

TEXT = "\n".join(path.read_text(encoding="utf-8") for path in DOCUMENTS)
COMMANDS = dict(commands(main))
OPTIONS = {
    option
    for context in COMMANDS.values()
    for parameter in context.command.get_params(context)
    for option in (*parameter.opts, *parameter.secondary_opts)
} | {"-h"}
URL = "postgresql://user@host:26257/db"
# Options of other programs.
OTHER_OPTIONS = {"--collector", "--stub", "--torch-backend"}

# What these name is checked, too; their blocks are not run.
NAMING = [*DOCUMENTS, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]
each_document = pytest.mark.parametrize("document", NAMING, ids=lambda path: path.relative_to(ROOT).as_posix())


def unknown(arguments: list[str]) -> Iterator[str]:
    """Yield the commands and options that do not exist, of one invocation of `crdbvec`."""
    command: click.Command = main
    path = ["crdbvec"]
    known: set[str] = {"-h"}
    is_value = False
    for argument in arguments:
        options = {option: each for each in command.params for option in (*each.opts, *each.secondary_opts)}
        known |= options.keys() | {"--help"}
        if is_value:
            is_value = False
        elif re.match(r"-[-a-zA-Z]", argument):
            if argument.split("=")[0] not in known:
                yield f"{' '.join(path)} {argument}"
            option = options.get(argument)
            is_value = isinstance(option, click.Option) and not option.is_flag
        elif isinstance(command, click.Group) and re.fullmatch(r"[a-z]+", argument):
            found = command.get_command(click.Context(command), argument)
            path.append(argument)
            if found is None:
                yield " ".join(path)
                return
            command = found
        elif isinstance(command, click.Group):
            # A placeholder, such as <command> or start|status.
            return


@each_document
def test_commands_and_options_exist(document: Path) -> None:
    assert [each for arguments in invocations(document) for each in unknown(arguments)] == []


@pytest.mark.parametrize("arguments", [["embd"], ["embed", "--folow"], ["index", "make"], ["search", "x", "-Q"]])
def test_unknown_command_or_option_is_found(arguments: list[str]) -> None:
    assert list(unknown(arguments)) != []


@each_document
def test_options_alone_exist(document: Path) -> None:
    named = {match[1] for code in inline_codes(document) if (match := re.match(r"(--[a-z][a-z-]*)(?![-\w])", code))}
    assert named - OPTIONS - OTHER_OPTIONS == set()


@pytest.mark.parametrize("name", COMMANDS)
def test_command_is_described(name: str) -> None:
    # `crdbvec migrate start|status|...` names several.
    group, _, last = name.rpartition(" ")
    assert re.search(rf"{re.escape(name)}\b|{re.escape(group)} [a-z|]*\b{last}\b", TEXT)


@pytest.mark.parametrize("name", sorted({name for names in CHECKS.values() for name in names}))
def test_check_is_described(name: str) -> None:
    assert f"`{name}`" in TEXT


def test_checks_of_the_definitions_are_those_of_the_reference() -> None:
    entry = {"table": "passage", "input": "passage", "output": "v", "model": "hf_st_all_minilm_l6"}
    more = {"index": {}, "updated_at": "at", "target_lag": "60s", "checks": {"questions": "questions.jsonl"}}
    definitions = build_definitions(parse_config({"vectors": [{**entry, **more}]}, "the test", ROOT))
    defined = {key.name for key in definitions.resolve_asset_graph().asset_check_keys}
    assert defined == {name for names in CHECKS.values() for name in names}


PAGE_OF_DAGSTER = (ROOT / "docs" / "dagster.md").read_text(encoding="utf-8")
# The rows of its table of objects.
_OBJECTS = re.compile(r"^\| (?:jobs?|schedule|sensor) (`.*?) \|", re.MULTILINE)


def definitions_of_the_page() -> dg.Definitions:
    """Return the definitions of the vector column that the page describes."""
    entry = {"table": "passage", "input": "p", "output": "passage_vector", "model": "color_histogram", "index": {}}
    return build_definitions(parse_config({"vectors": [entry]}, "the test", ROOT))


def objects_in_dagster() -> set[str]:
    """Return the names of the jobs, schedules and sensors of a vector column."""
    repository = definitions_of_the_page().get_repository_def()
    jobs = {job.name for job in repository.get_all_jobs() if not job.name.startswith("__")}
    sensors = {sensor.name for sensor in repository.sensor_defs} - {"default_automation_condition_sensor"}
    return jobs | sensors | {schedule.name for schedule in repository.schedule_defs}


def steps_in_dagster() -> set[str]:
    """Return the names of the steps of all jobs, which are keys in the configuration of a run."""
    jobs = definitions_of_the_page().get_repository_def().get_all_jobs()
    return {node.name for job in jobs for node in job.graph.nodes}


def test_objects_in_dagster_are_those_of_the_page() -> None:
    named = {name for row in _OBJECTS.findall(PAGE_OF_DAGSTER) for name in re.findall(r"`(\w+)`", row)}
    assert named == objects_in_dagster()


def test_steps_in_dagster_are_described() -> None:
    # The page has an example of these.
    of_jobs = {f"public__passage__{name}_op" for name in objects_in_dagster()}
    assert [step for step in sorted(steps_in_dagster() - of_jobs) if f"`{step}`" not in PAGE_OF_DAGSTER] == []
    example = re.search(r"Those of\s+the other jobs .*?, such as\s+`(\w+)`", PAGE_OF_DAGSTER, re.DOTALL)
    assert example is not None
    assert example[1] in steps_in_dagster() & of_jobs


RUN_CONFIGURATIONS = [
    block
    for block in blocks(ROOT / "docs" / "dagster.md")
    if block.language == "yaml" and block.text.startswith("ops:")
]


@pytest.mark.parametrize("block", RUN_CONFIGURATIONS, ids=lambda block: block.name)
def test_configuration_of_a_run_is_valid(block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRDBVEC_URL", URL)
    job = definitions_of_the_page().resolve_job_def("passage_vector__encode")
    assert dg.validate_run_config(job, yaml.safe_load(block.text))


def tags_of_the_code() -> set[str]:
    """Return the tags of runs and assets that the package sets or reads."""
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "crdbvec_pipelines").rglob("*.py")]
    names = {name for source in sources for name in re.findall(r"[\"'](crdbvec/\w+)[\"']", source)}
    # This is the name of a value in Dagster's storage.
    return names - {"crdbvec/celery_launcher_versions"}


def test_tags_are_described() -> None:
    assert set(re.findall(r"^\| `(crdbvec/\w+)` \|", PAGE_OF_DAGSTER, re.MULTILINE)) == tags_of_the_code()


def variables_of_the_code() -> set[str]:
    """Return the environment variables that the package or a model wrapper reads."""
    paths = [*(ROOT / "crdbvec_pipelines").rglob("*.py"), *(ROOT / "models").glob("*.py")]
    sources = [path.read_text(encoding="utf-8") for path in paths]
    names = {name for source in sources for name in re.findall(r"[\"'](CRDBVEC_[A-Z_]+[A-Z])[\"']", source)}
    # `crdbvec ui` sets it for its own processes.
    return names - {"CRDBVEC_UI_FOLDER"}


def test_environment_variables_are_described() -> None:
    assert [name for name in sorted(variables_of_the_code()) if f"`{name}`" not in TEXT] == []


def test_spans_are_those_of_the_page() -> None:
    page = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(crdbvec\.\w+)` \|", page, re.MULTILINE)) == set(spans_of_the_code())


def spans_of_the_code() -> tuple[str, ...]:
    """Return the names of the spans."""
    return (spans.RUN, spans.REFRESH, spans.BATCH, spans.READ, spans.ENCODE, spans.WRITE)


def names_in_python(text: str) -> Iterator[str]:
    """Yield the names that a block of Python imports from this project."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("crdbvec_pipelines"):
            yield from (f"{node.module}.{each.name}" for each in node.names)


def exists(name: str) -> bool:
    """Return whether a dotted name is a module or an attribute of one."""
    module, _, attribute = name.rpartition(".")
    try:
        importlib.import_module(name)
    except ImportError:
        try:
            return hasattr(importlib.import_module(module), attribute)
        except ImportError:
            return "." in module and exists_attribute(module, attribute)
    return True


def exists_attribute(owner: str, attribute: str) -> bool:
    """Return whether a class has an attribute."""
    module, _, name = owner.rpartition(".")
    try:
        return hasattr(getattr(importlib.import_module(module), name, None), attribute)
    except ImportError:
        return False


@each_document
def test_python_names_exist(document: Path) -> None:
    dotted = re.compile(r"crdbvec_pipelines(?:\.\w+)+")
    named = {name for code in inline_codes(document) for name in dotted.findall(code.split("[")[0])}
    python = [block for block in blocks(document) if block.language == "python"]
    named |= {name for block in python for name in names_in_python(block.text)}
    named = {name for name in named if not name.endswith((".py", ".md"))}
    assert [name for name in sorted(named) if not exists(name)] == []


def targets_of_make() -> set[str]:
    """Return the targets that users call."""
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


@each_document
def test_targets_of_make_exist(document: Path) -> None:
    typed = [command for block in blocks(document) for command in block.commands()]
    named = {match[1] for text in [*typed, *inline_codes(document)] if (match := re.match(r"make ([a-z-]+)", text))}
    assert named - targets_of_make() == set()


@each_document
def test_files_of_the_repository_exist(document: Path) -> None:
    folders = r"(?:benchmarks|crdbvec_pipelines|deploy|docs|docsite|examples|models|tests)"
    paths = {match[0] for code in inline_codes(document) if (match := re.fullmatch(rf"{folders}/[\w./-]+", code))}
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []


YAML = [block for path in DOCUMENTS for block in blocks(path) if block.language == "yaml"]
CONFIGURATIONS = [block for block in YAML if re.search(r"^vectors:", block.text, re.MULTILINE)]


@pytest.mark.parametrize("block", CONFIGURATIONS, ids=lambda block: block.name)
def test_configuration_is_valid(block: Block) -> None:
    assert parse_config(yaml.safe_load(block.text), block.name, ROOT).vectors


def test_configuration_of_the_demo_is_valid() -> None:
    assert load_config(ROOT / "crdbvec.yaml").vectors


KEYS = {re.sub(r"^vectors\[\]\.", "", key) for key, _, _ in keys()}
SECTIONS = {key.split(".")[0] for key in KEYS if "." in key}
# Configurations of other programs, and of a run of Dagster.
OTHER_YAML = ("ops:", "rule_files:", "type:")
FRAGMENTS = [block for block in YAML if block not in CONFIGURATIONS and not block.text.startswith(OTHER_YAML)]


@each_document
def test_keys_of_sections_exist(document: Path) -> None:
    dotted = re.compile(rf"((?:{'|'.join(sorted(SECTIONS))})\.[a-z_]+)(?=$|[:\s])")
    named = {match[1] for code in inline_codes(document) if (match := dotted.match(code))}
    assert [name for name in sorted(named) if name not in KEYS] == []


@pytest.mark.parametrize("block", FRAGMENTS, ids=lambda block: block.name)
def test_keys_of_a_part_of_an_entry_exist(block: Block) -> None:
    part = yaml.safe_load(block.text)
    entries = part if isinstance(part, list) else [part]
    names = {key for entry in entries for key in entry}
    assert names
    assert [name for name in sorted(names) if name not in KEYS] == []
