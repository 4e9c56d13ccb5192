"""CockroachDB's vector index, tested on texts that its servers print."""

import pytest
from psycopg import sql

from crdbvec_pipelines.database.dialects.cockroachdb_vectors import CockroachVectors
from crdbvec_pipelines.database.dialects.vector_support import NOT_NULL, IndexDefinition
from crdbvec_pipelines.database.errors import TableError
from crdbvec_pipelines.naming import TableName

SUPPORT = CockroachVectors(260205)

# 26.2: schema_locked after the columns, no direction after prefix columns.
PHOTOS = """\
CREATE TABLE public.photos (
\tid UUID NOT NULL DEFAULT gen_random_uuid(),
\tuser_id UUID NULL,
\tcaption STRING NULL DEFAULT 'VECTOR INDEX made_up (caption_vector)':::STRING,
\tcaption_vector VECTOR(384) NULL,
\tcaption_vector_fingerprint STRING NULL,
\tembedding VECTOR(1536) NULL,
\tCONSTRAINT photos_pkey PRIMARY KEY (id ASC),
\tINDEX photos_caption_vector_pending (id ASC) WHERE caption_vector IS NULL,
\tVECTOR INDEX photos_caption_vector_index (user_id, caption_vector vector_cosine_ops) \
WITH (build_beam_size=16, min_partition_size=8, max_partition_size=64) WHERE caption_vector IS NOT NULL,
\tVECTOR INDEX whole (caption_vector vector_ip_ops),
\tVECTOR INDEX published (caption_vector vector_cosine_ops) WHERE caption != 'draft':::STRING,
\tVECTOR INDEX hidden (caption_vector vector_l2_ops) WHERE caption_vector IS NOT NULL NOT VISIBLE,
\tVECTOR INDEX photos_embedding_idx (user_id, embedding vector_l2_ops),
\tFAMILY "primary" (id, user_id, caption, caption_vector, caption_vector_fingerprint, embedding)
) WITH (schema_locked = true);"""

# 25.2: a direction after each prefix column; no operator class if none was given.
OLDER = """\
CREATE TABLE public.photos (
\tid INT8 NOT NULL,
\trealm STRING NOT NULL,
\tuser_id UUID NULL,
\tv VECTOR(3) NULL,
\tCONSTRAINT photos_pkey PRIMARY KEY (id ASC),
\tVECTOR INDEX photos_v_idx (realm ASC, user_id DESC, v),
\tVECTOR INDEX last_one (realm ASC, v vector_l2_ops)
)"""

QUOTED = '''\
CREATE TABLE public."Order lines" (
\tid INT8 NOT NULL,
\t"the, (tenant) ""a""" STRING NULL,
\t"my v" VECTOR(3) NULL,
\tCONSTRAINT "Order lines_pkey" PRIMARY KEY (id ASC),
\tVECTOR INDEX "Order lines_my v_index" ("the, (tenant) ""a""", "my v" vector_cosine_ops) WHERE "my v" IS NOT NULL
) LOCALITY REGIONAL BY ROW'''


def parse(text: str, column: str) -> dict[str, IndexDefinition]:
    return SUPPORT.parse_description([(text,)], column)


def test_parse_returns_the_vector_indexes_of_the_column_only() -> None:
    assert parse(PHOTOS, "caption_vector") == {
        "photos_caption_vector_index": IndexDefinition(
            "vector_cosine_ops",
            ("user_id",),
            NOT_NULL,
            {"build_beam_size": 16, "min_partition_size": 8, "max_partition_size": 64},
        ),
        "whole": IndexDefinition("vector_ip_ops", predicate=None),
        "published": IndexDefinition("vector_cosine_ops", predicate="caption != 'draft':::STRING"),
        "hidden": IndexDefinition("vector_l2_ops", is_visible=False),
    }
    assert parse(PHOTOS, "embedding") == {
        "photos_embedding_idx": IndexDefinition("vector_l2_ops", ("user_id",), predicate=None)
    }
    assert parse(PHOTOS, "id") == {}


def test_parse_ignores_directions_and_defaults_to_l2() -> None:
    assert parse(OLDER, "v") == {
        "photos_v_idx": IndexDefinition("vector_l2_ops", ("realm", "user_id"), predicate=None),
        "last_one": IndexDefinition("vector_l2_ops", ("realm",), predicate=None),
    }


def test_parse_unquotes_names() -> None:
    assert parse(QUOTED, "my v") == {
        "Order lines_my v_index": IndexDefinition("vector_cosine_ops", ('the, (tenant) "a"',))
    }


def test_parse_returns_the_created_definition() -> None:
    definition = IndexDefinition("vector_ip_ops", ("realm", 'the "b"'), NOT_NULL, {"min_partition_size": 8})
    text = SUPPORT.create(sql.Identifier('i "1"'), sql.Identifier("t"), sql.Identifier("v"), definition).as_string()
    assert text == (
        'CREATE VECTOR INDEX IF NOT EXISTS "i ""1""" ON "t" ("realm", "the ""b""", "v" vector_ip_ops) '
        'WITH (min_partition_size = 8) WHERE "v" IS NOT NULL'
    )
    line = text.removeprefix("CREATE ").replace("IF NOT EXISTS ", "").replace(' ON "t"', "")
    assert parse(f"CREATE TABLE t (\n\tv VECTOR(3),\n\t{line}\n)", "v") == {'i "1"': definition}


def test_index_of_all_rows_has_no_predicate() -> None:
    all_rows = IndexDefinition("vector_cosine_ops", predicate=None)
    text = SUPPORT.create(sql.Identifier("i"), sql.Identifier("t"), sql.Identifier("v"), all_rows).as_string()
    assert text == 'CREATE VECTOR INDEX IF NOT EXISTS "i" ON "t" ("v" vector_cosine_ops)'


SEARCH = """\
distribution: local
vectorized: true

• top-k
│ estimated row count: 10
│ order: +crdbvec_distance
│ k: 10
│
└── • render
    │
    └── • lookup join
        │ table: photos@photos_pkey
        │ equality: (id) = (id)
        │ equality cols are key
        │
        └── • vector search
              table: {index}
              target count: 10
              prefix spans: [/'7c4f' - /'7c4f']""".splitlines()

SCAN = """\
• top-k
│ order: +crdbvec_distance
│ k: 10
│
└── • render
    │
    └── • filter
        │ filter: caption_vector IS NOT NULL
        │
        └── • scan
              missing stats
              table: photos@photos_pkey
              spans: FULL SCAN""".splitlines()

WRITE = """\
• insert
│ into: photos(id, caption_vector)
│
└── • vector mutation search
    │ mutation type: put
    │ table: photos@photos_caption_vector_index
    │
    └── • values
          size: 2 columns, 1 row""".splitlines()


@pytest.mark.parametrize(
    ("shown", "index"),
    [
        ("photos@photos_caption_vector_index", "photos_caption_vector_index"),
        ('"Order lines"@"Order lines_v_index"', "Order lines_v_index"),
        ('t@"i ""1"""', 'i "1"'),
        # The mark of EXPLAIN after an index with a predicate, which the indexes of this project have.
        ("photos@photos_caption_vector_index (partial index)", "photos_caption_vector_index"),
        ('"Order lines"@"Order lines_v_index" (partial index)', "Order lines_v_index"),
    ],
)
def test_uses_index_recognizes_a_vector_search(shown: str, index: str) -> None:
    plan = [line.replace("{index}", shown) for line in SEARCH]
    assert SUPPORT.uses_index(plan, index)
    assert not SUPPORT.uses_index(plan, "photos_pkey_2")
    assert not SUPPORT.uses_index(plan, index[1:])


def test_uses_index_ignores_scans_and_writes() -> None:
    assert not SUPPORT.uses_index(SCAN, "photos_caption_vector_index")
    assert not SUPPORT.uses_index(WRITE, "photos_caption_vector_index")


@pytest.mark.parametrize("version", [240300, 250200, 250303])
def test_versions_before_25_4_are_rejected(version: int) -> None:
    release = f"{version // 10000}.{version // 100 % 100}"
    with pytest.raises(TableError, match=f"^This cluster runs CockroachDB {release}; before 25.4 its vector index is"):
        CockroachVectors(version).check_index_support(384)


@pytest.mark.parametrize("version", [250400, 250411, 260205])
def test_later_versions_support_the_largest_dimension(version: int) -> None:
    CockroachVectors(version).check_index_support(16_000)


def test_beam_size_is_set_only_if_given() -> None:
    assert SUPPORT.settings(64, filtered=False) == {"vector_search_beam_size": 64}
    assert SUPPORT.settings(64, filtered=True) == {"vector_search_beam_size": 64}
    assert SUPPORT.settings(None, filtered=True) == {}


def test_search_with_fewer_rows_than_the_beam_size_is_exhaustive() -> None:
    assert SUPPORT.is_exhaustive(31, None)
    assert not SUPPORT.is_exhaustive(32, None)
    assert SUPPORT.is_exhaustive(32, 64)
    assert not SUPPORT.is_exhaustive(8, 8)


def test_progress_query_reads_unfinished_jobs_only() -> None:
    text = SUPPORT.progress.as_string()
    assert "[SHOW JOBS]" in text
    assert "job_type = 'NEW SCHEMA CHANGE'" in text
    assert "'succeeded'" not in text


def test_size_queries_read_the_ranges_of_table_and_index() -> None:
    table = TableName("Sales eu", "order.lines")
    assert SUPPORT.table_size(table).as_string() == (
        "SELECT sum(crdbvec_range.range_size)::int8 "
        'FROM [SHOW RANGES FROM TABLE "Sales eu"."order.lines" WITH DETAILS] AS crdbvec_range'
    )
    live = SUPPORT.live_records(table, "i").as_string()
    assert live.count("crdbvec_range.span_stats->>'live_") == 2
    assert "[SHOW RANGES FROM INDEX " in live
    assert SUPPORT.index_size(table, "i").as_string() == (
        "SELECT sum(crdbvec_range.range_size)::int8 "
        'FROM [SHOW RANGES FROM INDEX "Sales eu"."order.lines"@"i" WITH DETAILS] AS crdbvec_range'
    )
