"""The text that psycopg executes: only the placeholders of the statement are placeholders."""

from psycopg import sql

from crdbvec_pipelines.database.statement import Statement


def test_percent_signs_in_names_and_literals_are_escaped() -> None:
    composed = sql.SQL("SELECT {} % 2, {} FROM {} WHERE id = {} AND n = %(n)s").format(
        sql.Identifier("a%(n)s"), sql.Literal("100% %(n)s %s"), sql.Identifier("50%"), sql.Placeholder("id")
    )
    statement = Statement("probe", composed)
    assert statement.text == ('SELECT "a%(n)s" % 2, \'100% %(n)s %s\' FROM "50%" WHERE id = %(id)s AND n = %(n)s')
    assert statement.query.decode() == (
        'SELECT "a%%(n)s" %% 2, \'100%% %%(n)s %%s\' FROM "50%%" WHERE id = %(id)s AND n = %(n)s'
    )


def test_nested_parts_are_escaped() -> None:
    inner = sql.SQL("{} = {}").format(sql.Identifier("%"), sql.Placeholder("x"))
    outer = Statement("probe", sql.SQL("WHERE {} AND {}").format(inner, sql.SQL(" OR ").join([inner, inner])))
    assert outer.query == b'WHERE "%%" = %(x)s AND "%%" = %(x)s OR "%%" = %(x)s'
