"""The help texts: every command and every option has one, in one style, and they are shown without heavy imports."""

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from crdbvec_pipelines import __version__
from crdbvec_pipelines.cli import main
from tests.cli.conftest import Invoke
from tests.support.processes import ROOT, run, run_crdbvec, run_python
from tests.support.servers import Server

# The help text of a command starts with one of these verbs.
VERBS = {
    "Build",
    "Change",
    "Check",
    "Describe",
    "Download",
    "Embed",
    "Estimate",
    "Find",
    "List",
    "Measure",
    "Open",
    "Release",
    "Remove",
    "Run",
    "Show",
    "Write",
}


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


ALL = list(commands(main))


@pytest.mark.parametrize(("path", "command"), ALL, ids=[" ".join(path) for path, _ in ALL])
def test_command_starts_with_an_imperative_and_a_full_stop(path: tuple[str, ...], command: click.Command) -> None:
    assert command.help
    first, *paragraphs = [" ".join(paragraph.split()) for paragraph in command.help.split("\n\n")]
    assert first.split()[0] in VERBS
    assert all(paragraph.endswith(".") for paragraph in (first, *paragraphs))
    # Click shortens what does not fit into one line of the list of commands.
    assert len(first) <= 65


@pytest.mark.parametrize(("path", "command"), ALL, ids=[" ".join(path) for path, _ in ALL])
def test_every_option_has_a_help_text(path: tuple[str, ...], command: click.Command) -> None:
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            name = f"{' '.join(path)} {parameter.opts[0]}"
            assert parameter.help, f"{name} has no help text"
            sentence, _, default = parameter.help.partition("  [default: ")
            assert sentence.endswith("."), f"{name} does not end with a full stop"
            assert sentence[0].isupper(), f"{name} does not start with a capital letter"
            assert not default or default.endswith("]")


@pytest.mark.parametrize("path", [path for path, _ in ALL], ids=" ".join)
def test_help_is_printed_with_exit_code_0(path: tuple[str, ...], invoke: Invoke) -> None:
    result = invoke(*path, "-h")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Usage: main {' '.join(path)}")


@pytest.mark.parametrize("path", [(), *(path for path, _ in ALL)], ids=lambda path: " ".join(path) or "crdbvec")
def test_help_fits_a_screen_and_has_an_example_that_is_valid(path: tuple[str, ...]) -> None:
    lines = CliRunner().invoke(main, [*path, "--help"], terminal_width=80).stdout.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 80
    (example,) = re.findall(r"^  Example: crdbvec (.+)$", "\n".join(lines), re.MULTILINE)
    arguments = shlex.split(example)
    assert arguments[: len(path)] == list(path)
    # The parser rejects an unknown option before it shows the help.
    shown = CliRunner().invoke(main, [*arguments, "--help"])
    assert shown.exit_code == 0, shown.output


def test_list_of_commands_shows_the_first_line_of_each_help(invoke: Invoke) -> None:
    listed = " ".join(invoke("--help").stdout.split())
    for path, command in ALL:
        if len(path) == 1:
            assert command.help is not None
            first, *_ = command.help.split("\n\n")
            assert f" {path[0]} {' '.join(first.split())}" in listed


def test_version_is_that_of_the_package(tmp_path: Path) -> None:
    first, python, engines = run_crdbvec(["--version"], tmp_path).stdout.splitlines()
    assert first == f"crdbvec, version {__version__}"
    assert python.startswith("Python 3.")
    assert ", Dagster 1." in python
    assert re.fullmatch(r"engines: (OpenVINO \S+, )?PyTorch \S+", engines)


def test_version_of_the_server_if_it_replies(postgres: Server, tmp_path: Path) -> None:
    with postgres.new_database() as url:
        *_, server = run_crdbvec(["--version"], tmp_path, CRDBVEC_URL=url).stdout.splitlines()
    # A busy machine may not reply in time.
    assert re.fullmatch(r"server: (PostgreSQL \d+.*|no reply within 3 s; run `crdbvec doctor`)", server)
    done = run_crdbvec(["--version"], tmp_path, CRDBVEC_URL="postgresql://me@127.0.0.1:1/db")
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "server: no reply within 3 s; run `crdbvec doctor`"


def test_module_can_be_run(tmp_path: Path) -> None:
    done = run([sys.executable, "-m", "crdbvec_pipelines", "--help"], tmp_path)
    assert done.stdout.startswith("Usage: crdbvec [OPTIONS] COMMAND [ARGS]...")


def test_help_imports_no_heavy_package() -> None:
    source = (
        "import sys; from click.testing import CliRunner; from crdbvec_pipelines.cli import main; "
        "CliRunner().invoke(main, ['--help']); "
        "print(sorted({'torch', 'dagster', 'psycopg', 'numpy', 'pandas', 'sentence_transformers', 'openvino'} "
        "& set(sys.modules)))"
    )
    assert run_python(source, ROOT) == "[]\n"
