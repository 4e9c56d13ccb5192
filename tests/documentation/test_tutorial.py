"""What `crdbvec init` writes for the table of the tutorial is what the page shows."""

from pathlib import Path

import psycopg
import pytest
import yaml
from click.testing import CliRunner

from crdbvec_pipelines.cli import main
from tests.documentation.documents import blocks
from tests.support.processes import ROOT
from tests.support.servers import Server

TUTORIAL = list(blocks(ROOT / "docs" / "tutorial.md"))
(INIT,) = [command for block in TUTORIAL for command in block.commands() if command.startswith("crdbvec init")]
(SHOWN,) = [block.text for block in TUTORIAL if block.language == "yaml"]


def test_file_of_init_with_the_comment_removed_is_the_one_of_the_page(
    tmp_path: Path, postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with postgres.new_database() as url, psycopg.connect(url, autocommit=True) as connection:
        monkeypatch.setenv("CRDBVEC_URL", url)
        connection.execute(next(block.text for block in TUTORIAL if block.language == "sql").encode())
        result = CliRunner().invoke(main, INIT.split()[1:])
        assert result.exit_code == 0, result.output
    written = Path("crdbvec.yaml").read_text(encoding="utf-8")
    assert "    # updated_at:" in written
    found = yaml.safe_load(written.replace("    # updated_at:", "    updated_at:"))
    assert found["vectors"] == yaml.safe_load(SHOWN)["vectors"]
