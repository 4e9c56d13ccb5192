"""The summary of pictures: formats, reasons and quantiles of sizes, of any number of batches."""

import json
import pickle

from crdbvec_pipelines.encoding.picture_summary import NO_PICTURES, PictureSize, PictureSummary


def test_summaries_of_batches_are_added() -> None:
    first = PictureSummary({"JPEG": 2, "PNG": 1}, sizes=(PictureSize(10, 100), PictureSize(30, 300)))
    second = PictureSummary({"JPEG": 1}, sizes=(PictureSize(20, 200),)).with_rejected(["damaged", "damaged", "empty"])
    total = first + NO_PICTURES + second
    assert total.numbers == {
        "formats": {"JPEG": 3, "PNG": 1},
        "rejected": {"damaged": 2, "empty": 1},
        "bytes": {"min": 10, "median": 20, "p95": 30, "max": 30},
        "pixels": {"min": 100, "median": 200, "p95": 300, "max": 300},
    }
    assert json.loads(json.dumps(total.numbers)) == total.numbers
    assert pickle.loads(pickle.dumps(total)) == total


def test_summary_without_pictures_is_empty() -> None:
    assert not NO_PICTURES
    assert not NO_PICTURES + NO_PICTURES
    assert NO_PICTURES.with_rejected(["damaged"]).numbers == {"formats": {}, "rejected": {"damaged": 1}}


def test_number_of_sizes_is_limited() -> None:
    many = PictureSummary({"PNG": 1_500}, sizes=(PictureSize(1, 1),) * 1_500)
    assert len((many + many + many).sizes) == 2_000
    assert (many + many).formats == {"PNG": 3_000}
