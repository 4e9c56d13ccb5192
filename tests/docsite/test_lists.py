"""Lists of CommonMark in the form of Python-Markdown."""

import markdown
import pytest

from docsite.lists import adapted


def rendered(text: str) -> str:
    html: str = markdown.markdown(adapted(text), extensions=["pymdownx.superfences"])
    return html


LISTS = {
    "continued": ("- a\n  b\n- c", 2),
    "after a paragraph": ("Text\n- a b\n- c", 2),
    "numbered": ("1. a\n   b\n2. c", 2),
    "with a block": ("- a\n\n  ```text\n  code\n    more\n  ```\n- c", 2),
    "nested": ("- a\n  - b\n- c", 3),
}
OTHER = {
    "block": "Text\n\n```text\n- a\n  b\n```\n\nText",
    "table": "| a |\n|---|\n| - b |",
    "number": "The year\n1990. Then",
}


@pytest.mark.parametrize(("text", "items"), LISTS.values(), ids=LISTS)
def test_list_has_as_many_items_as_in_commonmark(text: str, items: int) -> None:
    assert rendered(text).count("<li>") == items


def test_block_of_an_item_stays_in_the_item_and_keeps_its_indentation() -> None:
    text = "3. Do:\n\n   ```yaml\n   a:\n     b: 1\n   ```\n\n   ![x](y.png)\n\n4. Then"
    assert adapted(text) == "3. Do:\n\n    ```yaml\n    a:\n      b: 1\n    ```\n\n    ![x](y.png)\n\n4. Then"


@pytest.mark.parametrize("text", OTHER.values(), ids=OTHER)
def test_other_text_is_unchanged(text: str) -> None:
    assert adapted(text) == text
