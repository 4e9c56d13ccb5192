"""Lists: what CommonMark reads as a part of a list, written as MkDocs' Markdown needs it.

CommonMark, which code hosts and package indexes show, takes lines that are indented as deep as the text of an item as
its continuation, and lets a list follow a paragraph without an empty line. Python-Markdown needs four columns for each
level, and the empty line.
"""

import re

_ITEM = re.compile(r" *(?:[-*+]|\d+\.) +(?=\S)")
# Only such an item interrupts a paragraph.
_FIRST_ITEM = re.compile(r" *(?:[-*+]|1\.) +(?=\S)")
_FENCE = re.compile(r" *(```+|~~~+)")
_COLUMNS = 4


def adapted(text: str) -> str:
    """Return a Markdown text with its lists in the form of Python-Markdown."""
    lines: list[str] = []
    # The columns at which the texts of the open items begin, and the fence of the code block that is open.
    open_items: list[int] = []
    fence = ""
    for line in text.split("\n"):
        if not line.strip():
            lines.append("")
            continue
        indent = len(line) - len(line.lstrip())
        if not fence:
            starts_item = _ITEM.match(line)
            after_gap = not lines or not lines[-1]
            while open_items and indent < open_items[-1] and (after_gap or starts_item or _FENCE.match(line)):
                open_items.pop()
            if _FIRST_ITEM.match(line) and not open_items and not after_gap and not _is_in_list(lines):
                lines.append("")
        base = open_items[-1] if open_items else 0
        lines.append(" " * (_COLUMNS * len(open_items) + max(0, indent - base)) + line.lstrip())
        opened = _FENCE.match(line)
        if fence:
            fence = "" if line.strip().startswith(fence) else fence
        elif opened:
            fence = opened[1]
        elif starts_item := _ITEM.match(line):
            open_items.append(starts_item.end())
    return "\n".join(lines)


def _is_in_list(lines: list[str]) -> bool:
    """Return whether the last paragraph of the text is an item of a list."""
    for line in reversed(lines):
        if not line:
            return False
        if _ITEM.match(line):
            return True
    return False
