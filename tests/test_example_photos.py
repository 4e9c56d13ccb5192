"""The example in examples/photos, with a small generated CLIP in the place of a trained one."""

import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import psycopg
import pytest

from crdbvec_pipelines.config import load_config
from crdbvec_pipelines.encoding import ModelRegistry
from tests.cli.conftest import Invoke, Json, invoke, project, read_json  # noqa: F401
from tests.support.generated_models import clip
from tests.support.pictures import content, scene
from tests.support.processes import ROOT

EXAMPLE = ROOT / "examples" / "photos"


def test_photos_of_one_user_are_found_by_words_by_file_and_by_key(
    project: Path,  # noqa: F811
    url: str,
    connection: psycopg.Connection,
    invoke: Invoke,  # noqa: F811
    read_json: Json,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CRDBVEC_URL", url)
    (entry,) = load_config(EXAMPLE / "crdbvec.yaml").vectors
    text = (EXAMPLE / "crdbvec.yaml").read_text(encoding="utf-8")
    clip(project / "clip")
    (project / "crdbvec.yaml").write_text(text.replace(entry.model, str(project / "clip")), encoding="utf-8")
    own = project / "ada"
    own.mkdir()
    (own / "beach.jpg").write_bytes(content(scene(1), "JPEG"))
    (own / "notes.txt").write_text("no picture", encoding="utf-8")
    shutil.copy(EXAMPLE / "fill.py", project)
    for arguments in ([], [str(own)]):
        monkeypatch.setattr(sys, "argv", ["fill.py", *arguments])
        runpy.run_path(str(project / "fill.py"), run_name="__main__")
    assert connection.execute("SELECT user_id, count(*) FROM photos GROUP BY 1 ORDER BY 1").fetchall() == [
        (1, 65),
        (2, 64),
        (3, 64),
    ]
    assert invoke("embed").exit_code == 0
    assert invoke("index", "build").exit_code == 0
    rows = connection.execute("SELECT id, picture FROM photos WHERE user_id = 2").fetchall()
    encoder = ModelRegistry().load(str(project / "clip"))
    vectors = encoder.encode(rows).vectors
    distances = 1 - vectors @ _unit(encoder.encode_query("a red boat")) / np.linalg.norm(vectors, axis=1)
    hits = read_json("search", "a red boat", "--where", "user_id=2", "-l", 10, "--exact")
    assert [hit["distance"] for hit in hits] == pytest.approx(np.sort(distances)[:10].tolist(), abs=1e-4)
    assert {hit["key"]["id"] for hit in hits} <= {str(key) for key, _ in rows}
    file = project / "query.jpg"
    file.write_bytes(rows[5][1])
    assert read_json("search", "--image", file, "--where", "user_id=2")[0]["distance"] == pytest.approx(0, abs=1e-4)
    similar = read_json("search", "--like", str(rows[5][0]), "-l", 100)
    assert {hit["key"]["id"] for hit in similar} == {str(key) for key, _ in rows} - {str(rows[5][0])}


def _unit(vector: "np.typing.NDArray[np.float32]") -> "np.typing.NDArray[np.float32]":
    unit: np.typing.NDArray[np.float32] = vector / np.linalg.norm(vector)
    return unit
