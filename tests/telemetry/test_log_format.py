"""Logs as JSON: one object per line, without the text of an exception."""

import json
import logging
import sys

from crdbvec_pipelines.telemetry.log_format import JsonFormatter


def test_a_record_is_one_line_of_json_without_the_text_of_an_exception() -> None:
    try:
        raise ValueError("text of a row")
    except ValueError:
        record = logging.LogRecord("crdbvec", logging.WARNING, "f.py", 1, "%d rows\nfailed", (3,), sys.exc_info())
    line = JsonFormatter().format(record)
    assert "\n" not in line
    assert "text of a row" not in line
    values = json.loads(line)
    assert values.keys() == {"time", "level", "logger", "message", "thread", "exception"}
    assert (values["level"], values["message"], values["exception"]) == ("WARNING", "3 rows\nfailed", "ValueError")
