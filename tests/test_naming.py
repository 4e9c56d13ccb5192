"""Names of tables as users write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdbvec_pipelines.errors import ConfigurationError
from crdbvec_pipelines.naming import TableName

_PARTS = st.text(min_size=1, max_size=20)


@pytest.mark.parametrize(
    ("text", "schema", "name"),
    [
        ("passage", "public", "passage"),
        ("  passage ", "public", "passage"),
        ("sales.Passage", "sales", "Passage"),
        ('"my.table"', "public", "my.table"),
        ('"a.b"."say ""so"""', "a.b", 'say "so"'),
        ("order lines", "public", "order lines"),
        ("50%.ünï", "50%", "ünï"),
        ('" padded "', "public", " padded "),
    ],
)
def test_name_is_parsed_exactly_as_written(text: str, schema: str, name: str) -> None:
    assert TableName.parse(text) == TableName(schema, name)


@pytest.mark.parametrize("text", ["", " ", ".", "a.", ".a", "a..b", "a.b.c", '"a', 'a"', '""', 'a"b"', '"a"b'])
def test_invalid_name_is_rejected_with_the_remedy(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"is not a table name\. Write table or schema\.table"):
        TableName.parse(text)


@given(_PARTS, _PARTS)
def test_displayed_name_can_be_parsed(schema: str, name: str) -> None:
    table = TableName(schema, name)
    assert TableName.parse(str(table)) == table


def test_plain_name_is_displayed_without_quotes() -> None:
    assert str(TableName("public", "Passage-2")) == "public.Passage-2"
