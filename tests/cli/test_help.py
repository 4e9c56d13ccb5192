"""Every command and every option says what it is for, and help is there at once."""

from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from crdbvec_pipelines import __version__
from crdbvec_pipelines.cli import main
from tests.cli.conftest import Invoke
from tests.support.processes import ROOT, run_crdbvec, run_python


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
def test_a_command_has_a_help_text_for_itself_and_each_option(path: tuple[str, ...], command: click.Command) -> None:
    assert command.help
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{' '.join(path)} {parameter.opts[0]} says nothing of itself"


@pytest.mark.parametrize("path", [path for path, _ in ALL], ids=" ".join)
def test_help_is_shown_and_ends_well(path: tuple[str, ...], invoke: Invoke) -> None:
    result = invoke(*path, "-h")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Usage: main {' '.join(path)}")


def test_the_list_of_commands_agrees_with_their_own_help(invoke: Invoke) -> None:
    listed = invoke("--help").stdout
    for path, _ in ALL:
        assert path[0] in listed


def test_the_version_is_the_packages(tmp_path: Path) -> None:
    assert run_crdbvec(["--version"], tmp_path).stdout == f"crdbvec, version {__version__}\n"


def test_help_imports_nothing_heavy() -> None:
    source = (
        "import sys; from click.testing import CliRunner; from crdbvec_pipelines.cli import main; "
        "CliRunner().invoke(main, ['--help']); "
        "print(sorted({'torch', 'dagster', 'psycopg', 'numpy', 'pandas', 'sentence_transformers', 'openvino'} "
        "& set(sys.modules)))"
    )
    assert run_python(source, ROOT) == "[]\n"
