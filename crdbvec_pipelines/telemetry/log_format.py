"""Logs as JSON, one object per line, for collectors of logs."""

import json
import logging
from datetime import UTC, datetime


class JsonFormatter(logging.Formatter):
    """Formats a log record as a JSON object: time, level, logger, message, thread, and the class of an exception.

    The text and the traceback of an exception are left out, because they can quote a row.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line."""
        values = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "thread": record.threadName,
        }
        if record.exc_info and record.exc_info[0] is not None:
            values["exception"] = record.exc_info[0].__name__
        return json.dumps(values, ensure_ascii=False)
