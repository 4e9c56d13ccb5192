"""Pictures of multimodal models: vectors, ranking, formats and damaged files, and a column of them on a real table."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

from crdbvec_pipelines.encoding import Encoder, InputRejected, ModelError, ModelRegistry, RowsRejected
from tests.cli.conftest import Invoke, Json, invoke, project, read_json  # noqa: F401
from tests.support.generated_models import PICTURE_MODELS, bert
from tests.support.pictures import content, damaged, in_all_modes, rotated_by_camera, scene
from tests.support.projects import write_config

QUERIES = ["a dog on the beach", "red", "the eye of a fish"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("towers")
    for name, generate in PICTURE_MODELS.items():
        generate(folder / name)
    bert(folder / "bert")
    return folder


@pytest.fixture(scope="module")
def clip(models: Path) -> Encoder:
    return ModelRegistry().load(str(models / "clip"))


@pytest.mark.parametrize("name", PICTURE_MODELS)
def test_ranking_of_pictures_for_a_text_equals_that_of_sentence_transformers(models: Path, name: str) -> None:
    from sentence_transformers import SentenceTransformer

    folder = str(models / name)
    # The vectors of random weights are near to each other, so that the rounding of bfloat16 exchanges neighbors.
    encoder = ModelRegistry(settings={folder: {"precision": "f32"}}).load(folder)
    original = SentenceTransformer(folder, device="cpu", local_files_only=True)
    scenes = [scene(number) for number in range(40)]
    expected = np.asarray(original.encode([{"image": each} for each in scenes], show_progress_bar=False))
    found = encoder.encode(list(enumerate(map(content, scenes)))).vectors
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    for text in QUERIES:
        query = np.asarray(original.encode([{"text": text}], show_progress_bar=False))[0]
        ranking = (expected @ query / np.linalg.norm(expected, axis=1)).argsort()
        mine = encoder.encode_query(text)
        assert (found @ mine / np.linalg.norm(found, axis=1)).argsort().tolist() == ranking.tolist()


def test_pictures_of_all_modes_are_near_to_the_same_picture(clip: Encoder) -> None:
    names, contents = zip(*in_all_modes(3), strict=True)
    vectors = clip.encode(list(enumerate(contents))).vectors
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = dict(zip(names, unit @ unit[0], strict=True))
    for name in ("JPEG", "progressive JPEG", "WebP", "palette", "animation"):
        assert cosines[name] > 0.95, cosines
    gray = unit[names.index("gray")]
    assert gray @ unit[names.index("16-bit")] > 0.999
    shown, upright = rotated_by_camera(5)
    rotated, expected = clip.encode([(0, shown), (1, content(upright))]).vectors
    np.testing.assert_allclose(rotated, expected, rtol=1e-3, atol=1e-3)


def test_damaged_pictures_and_a_decompression_bomb_are_failures_with_a_reason(clip: Encoder) -> None:
    contents, reasons = zip(*damaged(), strict=True)
    assert len(contents) == 20
    # Between pictures that can be decoded.
    batch = [content(scene(0)), *contents, content(scene(1))]
    with pytest.raises(RowsRejected) as caught:
        clip.encode(list(enumerate(batch)))
    found = {position: failure.reason.value for position, failure in caught.value.failures.items()}
    assert found == {position + 1: reason for position, reason in enumerate(reasons)}
    assert caught.value.encoded is not None
    np.testing.assert_allclose(
        caught.value.encoded.vectors, clip.encode([(0, batch[0]), (1, batch[-1])]).vectors, rtol=1e-3, atol=1e-3
    )


def test_number_of_pixels_is_a_setting(models: Path) -> None:
    encoder = ModelRegistry().load(f"{models / 'clip'}?max_pixels=1000")
    with pytest.raises(RowsRejected) as caught:
        encoder.encode([(1, content(scene(1)))])
    assert caught.value.failures[0].reason == "too_many_pixels"


def test_model_of_texts_rejects_pictures(models: Path) -> None:
    with pytest.raises(ModelError, match="encodes text, but the input has the type bytes"):
        ModelRegistry().load(str(models / "bert")).encode([(1, content(scene(1)))])


def test_picture_that_is_searched_for_must_be_decodable(clip: Encoder) -> None:
    with pytest.raises(InputRejected):
        clip.encode_picture(b"no picture")


def test_pictures_of_a_table_are_found_by_text_by_key_and_by_file(
    project: Path,  # noqa: F811
    url: str,
    connection: psycopg.Connection,
    invoke: Invoke,  # noqa: F811
    read_json: Json,  # noqa: F811
    models: Path,
    clip: Encoder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CRDBVEC_URL", url)
    entry = {"table": "photos", "input": "picture", "output": "embedding", "model": str(models / "clip")}
    write_config(project, entry)
    connection.execute("CREATE TABLE photos (id INT8 PRIMARY KEY, user_id INT8 NOT NULL, picture BYTEA)")
    contents = [content(scene(number)) for number in range(12)]
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO photos VALUES (%s, %s, %s)", [(n, n % 2, picture) for n, picture in enumerate(contents)]
        )
        cursor.execute("INSERT INTO photos VALUES (99, 0, %s), (100, 0, NULL)", [contents[0][:60]])
    # The damaged picture is a failed row.
    embedded = invoke("embed", "--json")
    assert embedded.exit_code == 3
    pictures = json.loads(embedded.stdout)["pictures"]
    assert (pictures["formats"], pictures["rejected"]) == ({"PNG": 12}, {"damaged": 1})
    assert pictures["bytes"]["max"] == max(map(len, contents))
    assert pictures["pixels"] == {"min": 1_920, "median": 1_920, "p95": 1_920, "max": 1_920}
    (error,) = read_json("errors", "list")
    assert "damaged" in json.dumps(error)
    vectors = clip.encode(list(enumerate(contents))).vectors
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    for text in QUERIES:
        ranking = (-(unit @ clip.encode_query(text))).argsort()
        assert [hit["key"]["id"] for hit in read_json("search", text, "-l", 12)] == ranking.tolist()
        of_user = [int(number) for number in ranking if number % 2 == 1]
        hits = read_json("search", text, "-l", 12, "--where", "user_id=1")
        assert [hit["key"]["id"] for hit in hits] == of_user
    file = project / "query.png"
    file.write_bytes(contents[7])
    by_file = read_json("search", "--image", file, "-l", 12)
    by_key = read_json("search", "--like", "7", "-l", 12)
    assert by_file[0]["key"]["id"] == 7
    assert [hit["key"]["id"] for hit in by_key] == [hit["key"]["id"] for hit in by_file[1:]]
    assert invoke("search", "red", "--image", file).exit_code == 2


def test_rows_may_name_pictures_in_allowed_folders_only(
    project: Path,  # noqa: F811
    url: str,
    connection: psycopg.Connection,
    invoke: Invoke,  # noqa: F811
    read_json: Json,  # noqa: F811
    models: Path,
    clip: Encoder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CRDBVEC_URL", url)
    photos = project / "photos"
    photos.mkdir()
    contents = [content(scene(number)) for number in range(6)]
    for number, each in enumerate(contents):
        (photos / f"{number}.png").write_bytes(each)
    (project / "private.png").write_bytes(content(scene(7)))
    (photos / "damaged.png").write_bytes(contents[0][:60])
    named = [*(f"{number}.png" for number in range(5)), str(photos / "5.png")]
    failing = ["../private.png", str(project / "private.png"), "missing.png", "damaged.png", "http://127.0.0.1/a.png"]
    connection.execute("CREATE TABLE photos (id INT8 PRIMARY KEY, path TEXT)")
    with connection.cursor() as cursor:
        cursor.executemany("INSERT INTO photos VALUES (%s, %s)", list(enumerate([*named, *failing])))
    name = str(models / "clip")
    entry: dict[str, Any] = {"table": "photos", "input": "path", "output": "embedding", "model": name}
    write_config(project, entry)
    assert invoke("embed").exit_code == 0
    of_paths = read_json("search", "red", "-l", 20)
    assert len(of_paths) == 11

    entry["model"] = {"name": name, "pictures": {"folders": [str(photos)]}}
    write_config(project, entry)
    (status,) = read_json("status")
    assert status["pending"] == 11
    assert invoke("embed").exit_code == 3
    vectors = clip.encode(list(enumerate(contents))).vectors
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    ranking = (-(unit @ clip.encode_query("red"))).argsort()
    hits = read_json("search", "red", "-l", 20)
    assert [hit["key"]["id"] for hit in hits if hit["key"]["id"] < 6] == ranking.tolist()
    errors = {error["key"][0]: error["message"] for error in read_json("errors", "list")}
    reasons = {key: message.partition(":")[0] for key, message in errors.items()}
    assert reasons == {6: "not_allowed", 7: "not_allowed", 8: "not_found", 9: "damaged", 10: "not_allowed"}
    assert not any(text in json.dumps(errors) for text in failing)


def test_settings_of_pictures_that_rows_name(models: Path, tmp_path: Path) -> None:
    registry, name = ModelRegistry(), str(models / "clip")
    file = tmp_path / "a.png"
    file.write_bytes(content(scene(1)))
    text, image = registry.load(name), registry.load(f'{name}?pictures.folders=["{tmp_path}"]')
    assert image.model_id == f"{text.model_id}-image"
    assert registry.load(f'{name}?modality=image&pictures.hosts=["example.org"]').model_id == image.model_id
    assert registry.load(f"{name}?modality=text").model_id == text.model_id
    # A path has no tokens that mean something.
    assert image.read_tokens([]) is None
    assert image.count_tokens(["a.png"]) is None
    np.testing.assert_array_equal(image.encode([(1, "a.png")]).vectors, text.encode([(1, file.read_bytes())]).vectors)
    with pytest.raises(ModelError, match=r"`modality: image` needs `pictures"):
        registry.load(f"{name}?modality=image").encode([(1, "a.png")])
    with pytest.raises(ModelError, match="name pictures have the modality image"):
        registry.load(f'{name}?modality=text&pictures.folders=["{tmp_path}"]')
    with pytest.raises(ModelError, match="does not read pictures"):
        registry.load(f'{models / "bert"}?pictures.folders=["{tmp_path}"]').load()
    with pytest.raises(ModelError, match="is not an absolute path of a folder that exists"):
        registry.load(f'{name}?pictures.folders=["photos"]').load()
    with pytest.raises(ModelError, match="pictures"):
        registry.load(f'{name}?pictures.hosts=["https://example.org/"]')
