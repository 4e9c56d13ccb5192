"""docs/upgrade.md: its commands, in their order, on the tables of release 0.1.0."""

import shlex

from click.testing import CliRunner

from crdbvec_pipelines.cli import main
from crdbvec_pipelines.cli.embed import ROWS_FAILED_EXIT_CODE
from tests.documentation.documents import blocks
from tests.support.processes import ROOT
from tests.upgrade.conftest import Restored
from tests.upgrade.state import encoded_inputs
from tests.upgrade.test_release_0_1_0 import COLUMNS


def embedded(release: Restored) -> dict[str, int]:
    """Return the number of embedded rows of each vector column."""
    return {f"{each['table']}.{each['output']}": each["embedded"] for each in release.crdbvec("status")}


def test_commands_of_the_page_embed_only_pending_rows(restored: Restored) -> None:
    before = embedded(restored)
    encoded = 0
    commands = [command for block in blocks(ROOT / "docs" / "upgrade.md") for command in block.commands()]
    assert commands == ["crdbvec status", "crdbvec plan", "crdbvec embed", "crdbvec doctor"]
    for command in commands:
        # `plan` and `doctor` encode some inputs to measure and check the model.
        calls = len(encoded_inputs(restored.calls))
        result = CliRunner().invoke(main, shlex.split(command)[1:], catch_exceptions=False)
        # Rows that 0.1.0 has recorded as failed stay failed.
        assert result.exit_code in (0, ROWS_FAILED_EXIT_CODE), result.output
        if command == "crdbvec embed":
            encoded = len(encoded_inputs(restored.calls)) - calls
        if command == "crdbvec plan":
            assert embedded(restored) == before
            assert "crdbvec_metadata_version" in result.output
    pending = sum(column["plan"]["pending"] for column in COLUMNS.values())
    assert 0 < encoded <= pending
    assert all(number >= before[name] - 1 for name, number in embedded(restored).items())
