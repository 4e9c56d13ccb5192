"""A table that the project makes itself. An asset of dbt or Sling takes its place in the same way."""

import os

import dagster as dg
import psycopg

_ARTICLES = ("Vectors of words", "An index over vectors", "How rows become stale")


@dg.asset(key_prefix="staging", group_name="analytics")
def raw_article() -> list[str]:
    """The articles as they are delivered."""
    return list(_ARTICLES)


@dg.asset(
    key_prefix="analytics",
    ins={"raw_article": dg.AssetIn(key_prefix="staging")},
    group_name="analytics",
    kinds={"table"},
)
def article(raw_article: list[str]) -> dg.MaterializeResult:
    """The table `public.article`; an article that it contains already stays as it is."""
    with psycopg.connect(os.environ["CRDBVEC_URL"], autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS article (id INT PRIMARY KEY, body TEXT NOT NULL)")
        for number, body in enumerate(raw_article):
            connection.execute("INSERT INTO article VALUES (%s, %s) ON CONFLICT (id) DO NOTHING", (number, body))
    return dg.MaterializeResult(metadata={"dagster/row_count": len(raw_article)})
