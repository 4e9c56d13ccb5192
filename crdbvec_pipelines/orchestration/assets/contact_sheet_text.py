"""A contact sheet as Markdown, as Dagster's UI shows it: the pictures, and a table with the keys of their rows."""

import base64

from crdbvec_pipelines.search.contact_sheet import ContactSheet
from crdbvec_pipelines.value_text import key_text

# A key may be a long text; the sheet has up to 24 of them.
_KEY_CHARACTERS = 40


def contact_sheet_text(sheet: ContactSheet) -> str:
    """Return a contact sheet as Markdown, with the pictures in the text."""
    data = base64.b64encode(sheet.grid).decode()
    rows = "\n".join(
        f"| {_code(row.key)} | {'; '.join(f'{_code(key)} {_number(distance)}' for distance, key in row.nearest)} |"
        for row in sheet.rows
    )
    by_index = all(row.strategy == "index_scan" for row in sheet.rows)
    lines = [
        f"![some pictures, each with those nearest to it](data:image/jpeg;base64,{data})",
        "Each row shows a picture of the partition, and then the pictures nearest to it "
        + ("in the table, by the vector index." if by_index else "in the partition."),
        f"| key | keys and distances of the nearest pictures |\n|---|---|\n{rows}",
    ]
    if sheet.unread:
        lines.append(f"Pictures that could not be read: {sheet.unread}.")
    return "\n\n".join(lines)


def _code(key: tuple[object, ...]) -> str:
    """Return a key as code in a cell of a table, whose signs of Markdown have no meaning."""
    text = "".join(each if each.isprintable() and each not in "`|" else " " for each in key_text(key))
    shown = text if len(text) <= _KEY_CHARACTERS else f"{text[: _KEY_CHARACTERS - 1]}…"
    return f"`{shown}`"


def _number(distance: float) -> str:
    # The distance of equal vectors may be computed as slightly less than zero; adding zero removes the sign of -0.0.
    return f"{round(distance, 4) + 0.0:.4f}"
