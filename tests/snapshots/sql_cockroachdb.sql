-- Every statement that reaches a cockroachdb server, for several kinds of vector column.
-- Made by `CRDBVEC_UPDATE_SNAPSHOTS=1 python -m pytest tests/database/test_ledger.py`.

-- add_fingerprint_column: Add the column that records the input and model of each vector.
--   one text
ALTER TABLE "public"."passage" ADD COLUMN IF NOT EXISTS "v_fingerprint" TEXT;
--   template, composite key, special characters in names
ALTER TABLE "Sales eu"."order.lines" ADD COLUMN IF NOT EXISTS "v_fingerprint" TEXT;
--   list of columns, trigger, updated_at
ALTER TABLE "public"."note" ADD COLUMN IF NOT EXISTS "v_fingerprint" TEXT;
--   bytea, nulls_only
ALTER TABLE "public"."picture" ADD COLUMN IF NOT EXISTS "v" TEXT;

-- add_vector_column: Add the vector column. It is nullable and has no default, so neither server rewrites the table.
--   one text
ALTER TABLE "public"."passage" ADD COLUMN IF NOT EXISTS "v" VECTOR(384);
--   template, composite key, special characters in names
ALTER TABLE "Sales eu"."order.lines" ADD COLUMN IF NOT EXISTS "v" VECTOR(384);
--   list of columns, trigger, updated_at
ALTER TABLE "public"."note" ADD COLUMN IF NOT EXISTS "v" VECTOR(384);
--   bytea, nulls_only
ALTER TABLE "public"."picture" ADD COLUMN IF NOT EXISTS "v" VECTOR(384);

-- clear_vectors: Clear the vectors of at most `limit` rows of a key range whose input has become blank.
--   one text, has_lower=False, has_upper=False, only_edited=False
UPDATE "public"."passage" SET "v" = NULL, "v_fingerprint" = NULL WHERE ("id") IN (SELECT "id" FROM "public"."passage" WHERE true AND true AND "v" IS NOT NULL AND NOT (("passage" IS NOT NULL AND btrim("passage", E' \t\r\n\f\x0b') <> '')) ORDER BY "id" LIMIT %(limit)s) AND NOT (("passage" IS NOT NULL AND btrim("passage", E' \t\r\n\f\x0b') <> ''));
--   one text, has_lower=True, has_upper=True, only_edited=True
UPDATE "public"."passage" SET "v" = NULL, "v_fingerprint" = NULL WHERE ("id") IN (SELECT "id" FROM "public"."passage" WHERE "id" >= %(lower_0)s::uuid AND "id" < %(upper_0)s::uuid AND true AND "v" IS NOT NULL AND NOT (("passage" IS NOT NULL AND btrim("passage", E' \t\r\n\f\x0b') <> '')) ORDER BY "id" LIMIT %(limit)s) AND NOT (("passage" IS NOT NULL AND btrim("passage", E' \t\r\n\f\x0b') <> ''));
--   template, composite key, special characters in names, has_lower=True, has_upper=True, only_edited=True
UPDATE "Sales eu"."order.lines" SET "v" = NULL, "v_fingerprint" = NULL WHERE ("realm", "chapter", "verse") IN (SELECT "realm", "chapter", "verse" FROM "Sales eu"."order.lines" WHERE ("realm", "chapter", "verse") >= (%(lower_0)s::text, %(lower_1)s::integer, %(lower_2)s::bigint) AND ("realm", "chapter", "verse") < (%(upper_0)s::text, %(upper_1)s::integer, %(upper_2)s::bigint) AND true AND "v" IS NOT NULL AND NOT (("the title" IS NOT NULL AND btrim("the title", E' \t\r\n\f\x0b') <> '') OR ("body" IS NOT NULL AND btrim("body", E' \t\r\n\f\x0b') <> '')) ORDER BY "realm", "chapter", "verse" LIMIT %(limit)s) AND NOT (("the title" IS NOT NULL AND btrim("the title", E' \t\r\n\f\x0b') <> '') OR ("body" IS NOT NULL AND btrim("body", E' \t\r\n\f\x0b') <> ''));
--   list of columns, trigger, updated_at, has_lower=True, has_upper=True, only_edited=True
UPDATE "public"."note" SET "v" = NULL, "v_fingerprint" = NULL WHERE ("id") IN (SELECT "id" FROM "public"."note" WHERE "id" >= %(lower_0)s::bigint AND "id" < %(upper_0)s::bigint AND "changed" >= %(since)s::timestamptz AND "v" IS NOT NULL AND NOT (("title" IS NOT NULL AND btrim("title", E' \t\r\n\f\x0b') <> '') OR ("body" IS NOT NULL AND btrim("body", E' \t\r\n\f\x0b') <> '') OR ("year" IS NOT NULL)) ORDER BY "id" LIMIT %(limit)s) AND NOT (("title" IS NOT NULL AND btrim("title", E' \t\r\n\f\x0b') <> '') OR ("body" IS NOT NULL AND btrim("body", E' \t\r\n\f\x0b') <> '') OR ("year" IS NOT NULL));
--   bytea, nulls_only, has_lower=True, has_upper=True, only_edited=True
UPDATE "public"."picture" SET "v" = NULL WHERE ("id") IN (SELECT "id" FROM "public"."picture" WHERE "id" >= %(lower_0)s::text AND "id" < %(upper_0)s::text AND true AND "v" IS NOT NULL AND NOT (("image" IS NOT NULL AND length("image") > 0)) ORDER BY "id" LIMIT %(limit)s) AND NOT (("image" IS NOT NULL AND length("image") > 0));

-- count_edited: Count the rows updated since a time whose vector is stale, at most `limit`, with their earliest
--     `updated_at`.
--   list of columns, trigger, updated_at, exclude_deferred=False
SELECT count(*), min(updated)::timestamptz FROM (SELECT "changed" AS updated FROM "public"."note" WHERE "changed" >= %(since)s::timestamptz AND "v" IS NOT NULL AND (NOT (("title" IS NOT NULL AND btrim("title", E' \t\r\n\f\x0b') <> '') OR ("body" IS NOT NULL AND btrim("body", E' \t\r\n\f\x0b') <> '') OR ("year" IS NOT NULL)) OR "v_fingerprint" IS DISTINCT FROM md5(%(seed)s::text || concat_ws(E'\n', "title", "body", "year"::text))) LIMIT %(limit)s) AS edited;
--   list of columns, trigger, updated_at, exclude_deferred=True
SELECT count(*), min(updated)::timestamptz FROM (SELECT "changed" AS updated FROM "public"."note" WHERE "changed" >= %(since)s::timestamptz AND "v" IS NOT NULL AND (NOT (("title" IS NOT NULL AND btrim("title", E' \t\r\n\f\x0b') <> '') OR ("body" IS NOT NULL AND btrim("body", E' \t\r\n\f\x0b') <> '') OR ("year" IS NOT NULL)) OR "v_fingerprint" IS DISTINCT FROM md5(%(seed)s::text || concat_ws(E'\n', "title", "body", "year"::text))) AND NOT EXISTS (SELECT 1 FROM (SELECT e.key AS crdbvec_key, e.fingerprint AS crdbvec_fingerprint FROM "public"."crdbvec_row_errors" AS e WHERE e.table_name = %(table_name)s::text AND e.output = %(output)s::text AND e.next_try > now()) AS crdbvec_waiting WHERE crdbvec_key = jsonb_build_array("id")::text AND crdbvec_fingerprint = md5(%(seed)s::text || concat_ws(E'\n', "title", "body", "year"::text))) LIMIT %(limit)s) AS edited;

-- count_errors: Count the failed rows by status, and the deferred ones among them.
SELECT e.class, count(*), count(*) FILTER (WHERE e.next_try > now()) FROM "public"."crdbvec_row_errors" AS e WHERE e.table_name = %(table_name)s::text AND e.output = %(output)s::text GROUP BY e.class;

-- count_reasons: Count rows by the reason why they are pending; fingerprints of `earlier` models identify their
--     vectors.
--   one text, is_prepared=False, earlier=0
SELECT count(*), count(*) FILTER (WHERE (("passage" IS NOT NULL AND btrim("passage", E' \t\r\n\f\x0b') <> ''))), count(*) FILTER (WHERE false), count(*) FILTER (WHERE false AND false), count(*) FILTER (WHERE NOT (("passage" IS NOT NULL AND btrim("passage", E' \t\r\n\f\x0b') <> ''))), count(DISTINCT md5(%(seed)s::text || "passage")) FILTER (WHERE (("passage" IS NOT NULL AND btrim("passage", E' \t\r\n\f\x0b') <> ''))) FROM "public"."passage";
--   one text, is_prepared=True, earlier=0
SELECT count(*), count(*) FILTER (WHERE "v" IS NULL AND "passage" IS NOT NULL AND (("passage" IS NOT NULL AND btrim("passage", E' \t\r\n\f\x0b') <> ''))), count(*) FILTER (WHERE "v" IS NOT NULL AND (("passage" IS NOT NULL AND btrim("passage", E' \t\r\n\f\x0b') <> '')) AND "v_fingerprint" IS DISTINCT FROM md5(%(seed)s::text || "passage")), count(*) FILTER (WHERE "v" IS NOT NULL AND (("passage" IS NOT NULL AND btrim("passage", E' \t\r\n\f\x0b') <> '')) AND "v_fingerprint" IS DISTINCT FROM md5(%(seed)s::text || "passage") AND false), count(*) FILTER (WHERE NOT (("passage" IS NOT NULL AND btrim("passage", E' \t\r\n\f\x0b') <> ''))), count(DISTINCT md5(%(seed)s::text || "passage")) FILTER (WHERE ("v" IS NULL AND "passage" IS NOT NULL AND (("passage" IS NOT NULL AND btrim("passage", E' \t\r\n\f\x0b') <> '')) OR "v" IS NOT NULL AND (("passage" IS NOT NULL AND btrim("passage", E' \t\r\n\f\x0b') <> '')) AND "v_fingerprint" IS DISTINCT FROM md5(%(seed)s::text || "passage"))) FROM "public"."passage";
--   one text, is_prepared=True, earlier=2
SELECT count(*), count(*) FILTER (WHERE "v" IS NULL AND "passage" IS NOT NULL AND (("passage" IS NOT NULL AND btrim("passage", E' \t\r\n\f\x0b') <> ''))), count(*) FILTER (WHERE "v" IS NOT NULL AND (("passage" IS NOT NULL AND btrim("passage", E' \t\r\n\f\x0b') <> '')) AND "v_fingerprint" IS DISTINCT FROM md5(%(seed)s::text || "passage")), count(*) FILTER (WHERE "v" IS NOT NULL AND (("passage" IS NOT NULL AND btrim("passage", E' \t\r\n\f\x0b') <> '')) AND "v_fingerprint" IS DISTINCT FROM md5(%(seed)s::text || "passage") AND "v_fingerprint" IN (md5(%(earlier_0)s::text || "passage"), md5(%(earlier_1)s::text || "passage"))), count(*) FILTER (WHERE NOT (("passage" IS NOT NULL AND btrim("passage", E' \t\r\n\f\x0b') <> ''))), count(DISTINCT md5(%(seed)s::text || "passage")) FILTER (WHERE ("v" IS NULL AND "passage" IS NOT NULL AND (("passage" IS NOT NULL AND btrim("passage", E' \t\r\n\f\x0b') <> '')) OR "v" IS NOT NULL AND (("passage" IS NOT NULL AND btrim("passage", E' \t\r\n\f\x0b') <> '')) AND "v_fingerprint" IS DISTINCT FROM md5(%(seed)s::text || "passage"))) FROM "public"."passage";
--   template, composite key, special characters in names, is_prepared=True, earlier=2
SELECT count(*), count(*) FILTER (WHERE "v" IS NULL AND ("the title" IS NOT NULL OR "body" IS NOT NULL) AND (("the title" IS NOT NULL AND btrim("the title", E' \t\r\n\f\x0b') <> '') OR ("body" IS NOT NULL AND btrim("body", E' \t\r\n\f\x0b') <> ''))), count(*) FILTER (WHERE "v" IS NOT NULL AND (("the title" IS NOT NULL AND btrim("the title", E' \t\r\n\f\x0b') <> '') OR ("body" IS NOT NULL AND btrim("body", E' \t\r\n\f\x0b') <> '')) AND "v_fingerprint" IS DISTINCT FROM md5(%(seed)s::text || ('100% ' || coalesce("the title", '') || ': ' || coalesce("body", '') || ' %(limit)s'))), count(*) FILTER (WHERE "v" IS NOT NULL AND (("the title" IS NOT NULL AND btrim("the title", E' \t\r\n\f\x0b') <> '') OR ("body" IS NOT NULL AND btrim("body", E' \t\r\n\f\x0b') <> '')) AND "v_fingerprint" IS DISTINCT FROM md5(%(seed)s::text || ('100% ' || coalesce("the title", '') || ': ' || coalesce("body", '') || ' %(limit)s')) AND "v_fingerprint" IN (md5(%(earlier_0)s::text || ('100% ' || coalesce("the title", '') || ': ' || coalesce("body", '') || ' %(limit)s')), md5(%(earlier_1)s::text || ('100% ' || coalesce("the title", '') || ': ' || coalesce("body", '') || ' %(limit)s')))), count(*) FILTER (WHERE NOT (("the title" IS NOT NULL AND btrim("the title", E' \t\r\n\f\x0b') <> '') OR ("body" IS NOT NULL AND btrim("body", E' \t\r\n\f\x0b') <> ''))), count(DISTINCT md5(%(seed)s::text || ('100% ' || coalesce("the title", '') || ': ' || coalesce("body", '') || ' %(limit)s'))) FILTER (WHERE ("v" IS NULL AND ("the title" IS NOT NULL OR "body" IS NOT NULL) AND (("the title" IS NOT NULL AND btrim("the title", E' \t\r\n\f\x0b') <> '') OR ("body" IS NOT NULL AND btrim("body", E' \t\r\n\f\x0b') <> '')) OR "v" IS NOT NULL AND (("the title" IS NOT NULL AND btrim("the title", E' \t\r\n\f\x0b') <> '') OR ("body" IS NOT NULL AND btrim("body", E' \t\r\n\f\x0b') <> '')) AND "v_fingerprint" IS DISTINCT FROM md5(%(seed)s::text || ('100% ' || coalesce("the title", '') || ': ' || coalesce("body", '') || ' %(limit)s')))) FROM "Sales eu"."order.lines";
--   list of columns, trigger, updated_at, is_prepared=True, earlier=2
SELECT count(*), count(*) FILTER (WHERE "v" IS NULL AND ("title" IS NOT NULL OR "body" IS NOT NULL OR "year" IS NOT NULL) AND (("title" IS NOT NULL AND btrim("title", E' \t\r\n\f\x0b') <> '') OR ("body" IS NOT NULL AND btrim("body", E' \t\r\n\f\x0b') <> '') OR ("year" IS NOT NULL))), count(*) FILTER (WHERE "v" IS NOT NULL AND (("title" IS NOT NULL AND btrim("title", E' \t\r\n\f\x0b') <> '') OR ("body" IS NOT NULL AND btrim("body", E' \t\r\n\f\x0b') <> '') OR ("year" IS NOT NULL)) AND "v_fingerprint" IS DISTINCT FROM md5(%(seed)s::text || concat_ws(E'\n', "title", "body", "year"::text))), count(*) FILTER (WHERE "v" IS NOT NULL AND (("title" IS NOT NULL AND btrim("title", E' \t\r\n\f\x0b') <> '') OR ("body" IS NOT NULL AND btrim("body", E' \t\r\n\f\x0b') <> '') OR ("year" IS NOT NULL)) AND "v_fingerprint" IS DISTINCT FROM md5(%(seed)s::text || concat_ws(E'\n', "title", "body", "year"::text)) AND "v_fingerprint" IN (md5(%(earlier_0)s::text || concat_ws(E'\n', "title", "body", "year"::text)), md5(%(earlier_1)s::text || concat_ws(E'\n', "title", "body", "year"::text)))), count(*) FILTER (WHERE NOT (("title" IS NOT NULL AND btrim("title", E' \t\r\n\f\x0b') <> '') OR ("body" IS NOT NULL AND btrim("body", E' \t\r\n\f\x0b') <> '') OR ("year" IS NOT NULL))), count(DISTINCT md5(%(seed)s::text || concat_ws(E'\n', "title", "body", "year"::text))) FILTER (WHERE ("v" IS NULL AND ("title" IS NOT NULL OR "body" IS NOT NULL OR "year" IS NOT NULL) AND (("title" IS NOT NULL AND btrim("title", E' \t\r\n\f\x0b') <> '') OR ("body" IS NOT NULL AND btrim("body", E' \t\r\n\f\x0b') <> '') OR ("year" IS NOT NULL)) OR "v" IS NOT NULL AND (("title" IS NOT NULL AND btrim("title", E' \t\r\n\f\x0b') <> '') OR ("body" IS NOT NULL AND btrim("body", E' \t\r\n\f\x0b') <> '') OR ("year" IS NOT NULL)) AND "v_fingerprint" IS DISTINCT FROM md5(%(seed)s::text || concat_ws(E'\n', "title", "body", "year"::text)))) FROM "public"."note";
--   bytea, nulls_only, is_prepared=True, earlier=2
SELECT count(*), count(*) FILTER (WHERE "v" IS NULL AND "image" IS NOT NULL AND (("image" IS NOT NULL AND length("image") > 0))), count(*) FILTER (WHERE false), count(*) FILTER (WHERE false AND false), count(*) FILTER (WHERE NOT (("image" IS NOT NULL AND length("image") > 0))), count(DISTINCT md5(%(seed)s::text || encode("image", 'hex'))) FILTER (WHERE ("v" IS NULL AND "image" IS NOT NULL AND (("image" IS NOT NULL AND length("image") > 0)) OR false)) FROM "public"."picture";

-- count_rows: Count the rows of a key range: all, with a vector, pending, blank.
--   one text, has_lower=False, has_upper=False, exclude_deferred=False
SELECT count(*), count("v"), count(*) FILTER (WHERE ("v" IS NULL AND "passage" IS NOT NULL AND (("passage" IS NOT NULL AND btrim("passage", E' \t\r\n\f\x0b') <> '')) OR "v" IS NOT NULL AND (("passage" IS NOT NULL AND btrim("passage", E' \t\r\n\f\x0b') <> '')) AND "v_fingerprint" IS DISTINCT FROM md5(%(seed)s::text || "passage"))), count(*) FILTER (WHERE NOT (("passage" IS NOT NULL AND btrim("passage", E' \t\r\n\f\x0b') <> ''))) FROM "public"."passage" WHERE true;
--   one text, has_lower=True, has_upper=True, exclude_deferred=True
SELECT count(*), count("v"), count(*) FILTER (WHERE ("v" IS NULL AND "passage" IS NOT NULL AND (("passage" IS NOT NULL AND btrim("passage", E' \t\r\n\f\x0b') <> '')) OR "v" IS NOT NULL AND (("passage" IS NOT NULL AND btrim("passage", E' \t\r\n\f\x0b') <> '')) AND "v_fingerprint" IS DISTINCT FROM md5(%(seed)s::text || "passage")) AND NOT EXISTS (SELECT 1 FROM (SELECT e.key AS crdbvec_key, e.fingerprint AS crdbvec_fingerprint FROM "public"."crdbvec_row_errors" AS e WHERE e.table_name = %(table_name)s::text AND e.output = %(output)s::text AND e.next_try > now()) AS crdbvec_waiting WHERE crdbvec_key = jsonb_build_array("id")::text AND crdbvec_fingerprint = md5(%(seed)s::text || "passage"))), count(*) FILTER (WHERE NOT (("passage" IS NOT NULL AND btrim("passage", E' \t\r\n\f\x0b') <> ''))) FROM "public"."passage" WHERE "id" >= %(lower_0)s::uuid AND "id" < %(upper_0)s::uuid;
--   template, composite key, special characters in names, has_lower=True, has_upper=True, exclude_deferred=True
SELECT count(*), count("v"), count(*) FILTER (WHERE ("v" IS NULL AND ("the title" IS NOT NULL OR "body" IS NOT NULL) AND (("the title" IS NOT NULL AND btrim("the title", E' \t\r\n\f\x0b') <> '') OR ("body" IS NOT NULL AND btrim("body", E' \t\r\n\f\x0b') <> '')) OR "v" IS NOT NULL AND (("the title" IS NOT NULL AND btrim("the title", E' \t\r\n\f\x0b') <> '') OR ("body" IS NOT NULL AND btrim("body", E' \t\r\n\f\x0b') <> '')) AND "v_fingerprint" IS DISTINCT FROM md5(%(seed)s::text || ('100% ' || coalesce("the title", '') || ': ' || coalesce("body", '') || ' %(limit)s'))) AND NOT EXISTS (SELECT 1 FROM (SELECT e.key AS crdbvec_key, e.fingerprint AS crdbvec_fingerprint FROM "Sales eu"."crdbvec_row_errors" AS e WHERE e.table_name = %(table_name)s::text AND e.output = %(output)s::text AND e.next_try > now()) AS crdbvec_waiting WHERE crdbvec_key = jsonb_build_array("realm", "chapter", "verse")::text AND crdbvec_fingerprint = md5(%(seed)s::text || ('100% ' || coalesce("the title", '') || ': ' || coalesce("body", '') || ' %(limit)s')))), count(*) FILTER (WHERE NOT (("the title" IS NOT NULL AND btrim("the title", E' \t\r\n\f\x0b') <> '') OR ("body" IS NOT NULL AND btrim("body", E' \t\r\n\f\x0b') <> ''))) FROM "Sales eu"."order.lines" WHERE ("realm", "chapter", "verse") >= (%(lower_0)s::text, %(lower_1)s::integer, %(lower_2)s::bigint) AND ("realm", "chapter", "verse") < (%(upper_0)s::text, %(upper_1)s::integer, %(upper_2)s::bigint);
--   list of columns, trigger, updated_at, has_lower=True, has_upper=True, exclude_deferred=True
SELECT count(*), count("v"), count(*) FILTER (WHERE ("v" IS NULL AND ("title" IS NOT NULL OR "body" IS NOT NULL OR "year" IS NOT NULL) AND (("title" IS NOT NULL AND btrim("title", E' \t\r\n\f\x0b') <> '') OR ("body" IS NOT NULL AND btrim("body", E' \t\r\n\f\x0b') <> '') OR ("year" IS NOT NULL)) OR "v" IS NOT NULL AND (("title" IS NOT NULL AND btrim("title", E' \t\r\n\f\x0b') <> '') OR ("body" IS NOT NULL AND btrim("body", E' \t\r\n\f\x0b') <> '') OR ("year" IS NOT NULL)) AND "v_fingerprint" IS DISTINCT FROM md5(%(seed)s::text || concat_ws(E'\n', "title", "body", "year"::text))) AND NOT EXISTS (SELECT 1 FROM (SELECT e.key AS crdbvec_key, e.fingerprint AS crdbvec_fingerprint FROM "public"."crdbvec_row_errors" AS e WHERE e.table_name = %(table_name)s::text AND e.output = %(output)s::text AND e.next_try > now()) AS crdbvec_waiting WHERE crdbvec_key = jsonb_build_array("id")::text AND crdbvec_fingerprint = md5(%(seed)s::text || concat_ws(E'\n', "title", "body", "year"::text)))), count(*) FILTER (WHERE NOT (("title" IS NOT NULL AND btrim("title", E' \t\r\n\f\x0b') <> '') OR ("body" IS NOT NULL AND btrim("body", E' \t\r\n\f\x0b') <> '') OR ("year" IS NOT NULL))) FROM "public"."note" WHERE "id" >= %(lower_0)s::bigint AND "id" < %(upper_0)s::bigint;
--   bytea, nulls_only, has_lower=True, has_upper=True, exclude_deferred=True
SELECT count(*), count("v"), count(*) FILTER (WHERE ("v" IS NULL AND "image" IS NOT NULL AND (("image" IS NOT NULL AND length("image") > 0)) OR false) AND NOT EXISTS (SELECT 1 FROM (SELECT e.key AS crdbvec_key, e.fingerprint AS crdbvec_fingerprint FROM "public"."crdbvec_row_errors" AS e WHERE e.table_name = %(table_name)s::text AND e.output = %(output)s::text AND e.next_try > now()) AS crdbvec_waiting WHERE crdbvec_key = jsonb_build_array("id")::text AND crdbvec_fingerprint = md5(%(seed)s::text || encode("image", 'hex')))), count(*) FILTER (WHERE NOT (("image" IS NOT NULL AND length("image") > 0))) FROM "public"."picture" WHERE "id" >= %(lower_0)s::text AND "id" < %(upper_0)s::text;

-- count_table: Count all rows of a table, for a server without an estimate.
--   one text
SELECT count(*) FROM "public"."passage";
--   template, composite key, special characters in names
SELECT count(*) FROM "Sales eu"."order.lines";
--   list of columns, trigger, updated_at
SELECT count(*) FROM "public"."note";
--   bytea, nulls_only
SELECT count(*) FROM "public"."picture";

-- count_unembedded: Count the pending rows without a vector through the partial index, at most `limit` of them.
--   one text, exclude_deferred=False
SELECT count(*) FROM (SELECT 1 FROM "public"."passage" WHERE "v" IS NULL AND "passage" IS NOT NULL AND (("passage" IS NOT NULL AND btrim("passage", E' \t\r\n\f\x0b') <> '')) LIMIT %(limit)s) AS missing;
--   one text, exclude_deferred=True
SELECT count(*) FROM (SELECT 1 FROM "public"."passage" WHERE "v" IS NULL AND "passage" IS NOT NULL AND (("passage" IS NOT NULL AND btrim("passage", E' \t\r\n\f\x0b') <> '')) AND NOT EXISTS (SELECT 1 FROM (SELECT e.key AS crdbvec_key, e.fingerprint AS crdbvec_fingerprint FROM "public"."crdbvec_row_errors" AS e WHERE e.table_name = %(table_name)s::text AND e.output = %(output)s::text AND e.next_try > now()) AS crdbvec_waiting WHERE crdbvec_key = jsonb_build_array("id")::text AND crdbvec_fingerprint = md5(%(seed)s::text || "passage")) LIMIT %(limit)s) AS missing;
--   template, composite key, special characters in names, exclude_deferred=True
SELECT count(*) FROM (SELECT 1 FROM "Sales eu"."order.lines" WHERE "v" IS NULL AND ("the title" IS NOT NULL OR "body" IS NOT NULL) AND (("the title" IS NOT NULL AND btrim("the title", E' \t\r\n\f\x0b') <> '') OR ("body" IS NOT NULL AND btrim("body", E' \t\r\n\f\x0b') <> '')) AND NOT EXISTS (SELECT 1 FROM (SELECT e.key AS crdbvec_key, e.fingerprint AS crdbvec_fingerprint FROM "Sales eu"."crdbvec_row_errors" AS e WHERE e.table_name = %(table_name)s::text AND e.output = %(output)s::text AND e.next_try > now()) AS crdbvec_waiting WHERE crdbvec_key = jsonb_build_array("realm", "chapter", "verse")::text AND crdbvec_fingerprint = md5(%(seed)s::text || ('100% ' || coalesce("the title", '') || ': ' || coalesce("body", '') || ' %(limit)s'))) LIMIT %(limit)s) AS missing;
--   list of columns, trigger, updated_at, exclude_deferred=True
SELECT count(*) FROM (SELECT 1 FROM "public"."note" WHERE "v" IS NULL AND ("title" IS NOT NULL OR "body" IS NOT NULL OR "year" IS NOT NULL) AND (("title" IS NOT NULL AND btrim("title", E' \t\r\n\f\x0b') <> '') OR ("body" IS NOT NULL AND btrim("body", E' \t\r\n\f\x0b') <> '') OR ("year" IS NOT NULL)) AND NOT EXISTS (SELECT 1 FROM (SELECT e.key AS crdbvec_key, e.fingerprint AS crdbvec_fingerprint FROM "public"."crdbvec_row_errors" AS e WHERE e.table_name = %(table_name)s::text AND e.output = %(output)s::text AND e.next_try > now()) AS crdbvec_waiting WHERE crdbvec_key = jsonb_build_array("id")::text AND crdbvec_fingerprint = md5(%(seed)s::text || concat_ws(E'\n', "title", "body", "year"::text))) LIMIT %(limit)s) AS missing;
--   bytea, nulls_only, exclude_deferred=True
SELECT count(*) FROM (SELECT 1 FROM "public"."picture" WHERE "v" IS NULL AND "image" IS NOT NULL AND (("image" IS NOT NULL AND length("image") > 0)) AND NOT EXISTS (SELECT 1 FROM (SELECT e.key AS crdbvec_key, e.fingerprint AS crdbvec_fingerprint FROM "public"."crdbvec_row_errors" AS e WHERE e.table_name = %(table_name)s::text AND e.output = %(output)s::text AND e.next_try > now()) AS crdbvec_waiting WHERE crdbvec_key = jsonb_build_array("id")::text AND crdbvec_fingerprint = md5(%(seed)s::text || encode("image", 'hex'))) LIMIT %(limit)s) AS missing;

-- count_unprepared: Count the rows of a table without the vector column or its fingerprint: all, with a vector,
--     pending, blank.
--   one text
SELECT count(*), count("v"), count(*) FILTER (WHERE (("passage" IS NOT NULL AND btrim("passage", E' \t\r\n\f\x0b') <> ''))), count(*) FILTER (WHERE NOT (("passage" IS NOT NULL AND btrim("passage", E' \t\r\n\f\x0b') <> ''))) FROM "public"."passage";
--   template, composite key, special characters in names
SELECT count(*), count("v"), count(*) FILTER (WHERE (("the title" IS NOT NULL AND btrim("the title", E' \t\r\n\f\x0b') <> '') OR ("body" IS NOT NULL AND btrim("body", E' \t\r\n\f\x0b') <> ''))), count(*) FILTER (WHERE NOT (("the title" IS NOT NULL AND btrim("the title", E' \t\r\n\f\x0b') <> '') OR ("body" IS NOT NULL AND btrim("body", E' \t\r\n\f\x0b') <> ''))) FROM "Sales eu"."order.lines";
--   list of columns, trigger, updated_at
SELECT count(*), count("v"), count(*) FILTER (WHERE (("title" IS NOT NULL AND btrim("title", E' \t\r\n\f\x0b') <> '') OR ("body" IS NOT NULL AND btrim("body", E' \t\r\n\f\x0b') <> '') OR ("year" IS NOT NULL))), count(*) FILTER (WHERE NOT (("title" IS NOT NULL AND btrim("title", E' \t\r\n\f\x0b') <> '') OR ("body" IS NOT NULL AND btrim("body", E' \t\r\n\f\x0b') <> '') OR ("year" IS NOT NULL))) FROM "public"."note";
--   bytea, nulls_only
SELECT count(*), count("v"), count(*) FILTER (WHERE (("image" IS NOT NULL AND length("image") > 0))), count(*) FILTER (WHERE NOT (("image" IS NOT NULL AND length("image") > 0))) FROM "public"."picture";

-- count_vectors: Return the number of rows that have a vector.
--   one text
SELECT count("v") FROM "public"."passage";
--   template, composite key, special characters in names
SELECT count("v") FROM "Sales eu"."order.lines";
--   list of columns, trigger, updated_at
SELECT count("v") FROM "public"."note";
--   bytea, nulls_only
SELECT count("v") FROM "public"."picture";

-- create_claims_table: Create the table of claims. A bound is a JSON array of text, one element per key column; NULL
--     is an open end.
CREATE TABLE IF NOT EXISTS "public"."crdbvec_claims" (table_name TEXT NOT NULL, output TEXT NOT NULL, owner TEXT NOT NULL, lower_bound TEXT, upper_bound TEXT, claimed_at TIMESTAMPTZ NOT NULL, expires_at TIMESTAMPTZ NOT NULL, PRIMARY KEY (table_name, output, owner));

-- create_errors_table: Create the table of failed rows. It contains keys and reasons, never the inputs.
CREATE TABLE IF NOT EXISTS "public"."crdbvec_row_errors" (table_name TEXT NOT NULL, output TEXT NOT NULL, key TEXT NOT NULL, fingerprint TEXT NOT NULL, class TEXT NOT NULL, attempts INT8 NOT NULL, next_try TIMESTAMPTZ NOT NULL, message TEXT NOT NULL, first_seen TIMESTAMPTZ NOT NULL, last_seen TIMESTAMPTZ NOT NULL, PRIMARY KEY (table_name, output, key));

-- create_extension: Make the VECTOR type available in the database.
-- (not sent to this server)

-- create_pending_index: Create the partial index over pending rows without a vector; an embedded row is no longer
--     part of it.
--   one text
CREATE INDEX IF NOT EXISTS "passage_v_pending" ON "public"."passage" ("id") WHERE "v" IS NULL AND "passage" IS NOT NULL;
--   template, composite key, special characters in names
CREATE INDEX IF NOT EXISTS "order.lines_v_pending" ON "Sales eu"."order.lines" ("realm", "chapter", "verse") WHERE "v" IS NULL AND ("the title" IS NOT NULL OR "body" IS NOT NULL);
--   list of columns, trigger, updated_at
CREATE INDEX IF NOT EXISTS "note_v_pending" ON "public"."note" ("id") WHERE "v" IS NULL AND ("title" IS NOT NULL OR "body" IS NOT NULL OR "year" IS NOT NULL);
--   bytea, nulls_only
CREATE INDEX IF NOT EXISTS "picture_v_pending" ON "public"."picture" ("id") WHERE "v" IS NULL AND "image" IS NOT NULL;

-- create_sample_table: Create the table as an application has it, without a vector column.
CREATE TABLE IF NOT EXISTS "public"."gloss" (id UUID PRIMARY KEY, word TEXT NOT NULL, gloss TEXT NOT NULL);

-- create_trigger: Create the trigger on a server that cannot replace one.
--   one text
CREATE TRIGGER "crdbvec_stale" BEFORE UPDATE ON "public"."passage" FOR EACH ROW EXECUTE FUNCTION "public"."crdbvec_stale_passage_c5b550cb"();
--   template, composite key, special characters in names
CREATE TRIGGER "crdbvec_stale" BEFORE UPDATE ON "Sales eu"."order.lines" FOR EACH ROW EXECUTE FUNCTION "Sales eu"."crdbvec_stale_order.lines_b5e5ffba"();
--   list of columns, trigger, updated_at
CREATE TRIGGER "crdbvec_stale" BEFORE UPDATE ON "public"."note" FOR EACH ROW EXECUTE FUNCTION "public"."crdbvec_stale_note_967530f9"();
--   bytea, nulls_only
CREATE TRIGGER "crdbvec_stale" BEFORE UPDATE ON "public"."picture" FOR EACH ROW EXECUTE FUNCTION "public"."crdbvec_stale_picture_2768dce3"();

-- create_trigger_function: Create the trigger's function. `(NEW).column` is the syntax of CockroachDB; PostgreSQL
--     allows it.
--   one text
CREATE OR REPLACE FUNCTION "public"."crdbvec_stale_passage_c5b550cb"() RETURNS TRIGGER LANGUAGE plpgsql AS $crdbvec$
-- Made by crdbvec from the table crdbvec_vector_columns: a vector is cleared at once when what it was made
-- from changes, and crdbvec embeds the row again. Before dropping one of the columns named below:
-- DROP TRIGGER crdbvec_stale on this table.
BEGIN
  IF (NEW)."passage" IS DISTINCT FROM (OLD)."passage" THEN
    NEW."v" := NULL;
    NEW."v_fingerprint" := NULL;
  END IF;
  IF (NEW)."passage" IS DISTINCT FROM (OLD)."passage" THEN
    NEW."w" := NULL;
  END IF;
  RETURN NEW;
END
$crdbvec$;
--   template, composite key, special characters in names
CREATE OR REPLACE FUNCTION "Sales eu"."crdbvec_stale_order.lines_b5e5ffba"() RETURNS TRIGGER LANGUAGE plpgsql AS $crdbvec$
-- Made by crdbvec from the table crdbvec_vector_columns: a vector is cleared at once when what it was made
-- from changes, and crdbvec embeds the row again. Before dropping one of the columns named below:
-- DROP TRIGGER crdbvec_stale on this table.
BEGIN
  IF (NEW)."the title" IS DISTINCT FROM (OLD)."the title" OR (NEW)."body" IS DISTINCT FROM (OLD)."body" THEN
    NEW."v" := NULL;
    NEW."v_fingerprint" := NULL;
  END IF;
  IF (NEW)."the title" IS DISTINCT FROM (OLD)."the title" OR (NEW)."body" IS DISTINCT FROM (OLD)."body" THEN
    NEW."w" := NULL;
  END IF;
  RETURN NEW;
END
$crdbvec$;
--   list of columns, trigger, updated_at
CREATE OR REPLACE FUNCTION "public"."crdbvec_stale_note_967530f9"() RETURNS TRIGGER LANGUAGE plpgsql AS $crdbvec$
-- Made by crdbvec from the table crdbvec_vector_columns: a vector is cleared at once when what it was made
-- from changes, and crdbvec embeds the row again. Before dropping one of the columns named below:
-- DROP TRIGGER crdbvec_stale on this table.
BEGIN
  IF (NEW)."title" IS DISTINCT FROM (OLD)."title" OR (NEW)."body" IS DISTINCT FROM (OLD)."body" OR (NEW)."year" IS DISTINCT FROM (OLD)."year" THEN
    NEW."v" := NULL;
    NEW."v_fingerprint" := NULL;
  END IF;
  IF (NEW)."title" IS DISTINCT FROM (OLD)."title" OR (NEW)."body" IS DISTINCT FROM (OLD)."body" OR (NEW)."year" IS DISTINCT FROM (OLD)."year" THEN
    NEW."w" := NULL;
  END IF;
  RETURN NEW;
END
$crdbvec$;
--   bytea, nulls_only
CREATE OR REPLACE FUNCTION "public"."crdbvec_stale_picture_2768dce3"() RETURNS TRIGGER LANGUAGE plpgsql AS $crdbvec$
-- Made by crdbvec from the table crdbvec_vector_columns: a vector is cleared at once when what it was made
-- from changes, and crdbvec embeds the row again. Before dropping one of the columns named below:
-- DROP TRIGGER crdbvec_stale on this table.
BEGIN
  IF (NEW)."image" IS DISTINCT FROM (OLD)."image" THEN
    NEW."v" := NULL;
  END IF;
  IF (NEW)."image" IS DISTINCT FROM (OLD)."image" THEN
    NEW."w" := NULL;
  END IF;
  RETURN NEW;
END
$crdbvec$;

-- create_updated_index: Create the index that finds edited rows, if the table has no index that starts with the
--     column.
--   one text
CREATE INDEX IF NOT EXISTS "passage_v_fingerprint_crdbvec" ON "public"."passage" ("v_fingerprint");
--   template, composite key, special characters in names
CREATE INDEX IF NOT EXISTS "order.lines_v_fingerprint_crdbvec" ON "Sales eu"."order.lines" ("v_fingerprint");
--   list of columns, trigger, updated_at
CREATE INDEX IF NOT EXISTS "note_v_fingerprint_crdbvec" ON "public"."note" ("v_fingerprint");
--   bytea, nulls_only
CREATE INDEX IF NOT EXISTS "picture_v_crdbvec" ON "public"."picture" ("v");

-- create_vector_columns_table: Create the metadata table of vector columns.
CREATE TABLE IF NOT EXISTS "public"."crdbvec_vector_columns" (table_name TEXT NOT NULL, output TEXT NOT NULL, inputs TEXT NOT NULL, fingerprint TEXT, staleness TEXT NOT NULL, models TEXT NOT NULL, changed_at TIMESTAMPTZ NOT NULL, PRIMARY KEY (table_name, output));

-- create_vector_index: Build the vector index.
--   one text, metric=cosine
CREATE VECTOR INDEX IF NOT EXISTS "passage_v_index" ON "public"."passage" ("v" vector_cosine_ops) WHERE "v" IS NOT NULL;
--   one text, metric=l2
CREATE VECTOR INDEX IF NOT EXISTS "passage_v_index" ON "public"."passage" ("v" vector_l2_ops) WHERE "v" IS NOT NULL;
--   one text, metric=ip
CREATE VECTOR INDEX IF NOT EXISTS "passage_v_index" ON "public"."passage" ("v" vector_ip_ops) WHERE "v" IS NOT NULL;
--   template, composite key, special characters in names, metric=ip
CREATE VECTOR INDEX IF NOT EXISTS "order.lines_v_index" ON "Sales eu"."order.lines" ("realm", "chapter", "v" vector_ip_ops) WITH (build_beam_size = 16, min_partition_size = 8) WHERE "v" IS NOT NULL;
--   list of columns, trigger, updated_at, metric=ip
CREATE VECTOR INDEX IF NOT EXISTS "note_v_index" ON "public"."note" ("v" vector_ip_ops) WHERE "v" IS NOT NULL;
--   bytea, nulls_only, metric=ip
CREATE VECTOR INDEX IF NOT EXISTS "picture_v_index" ON "public"."picture" ("v" vector_ip_ops) WHERE "v" IS NOT NULL;

-- create_version_table: Create the table with the version of the metadata tables of a schema.
CREATE TABLE IF NOT EXISTS "public"."crdbvec_metadata_version" (version INT8 NOT NULL PRIMARY KEY, installed_at TIMESTAMPTZ NOT NULL);

-- delete_claim: Release a claim.
DELETE FROM "public"."crdbvec_claims" WHERE table_name = %(table_name)s::text AND output = %(output)s::text AND owner = %(owner)s::text;

-- delete_expired_claims: Delete claims whose process did not extend them for a long time.
DELETE FROM "public"."crdbvec_claims" WHERE table_name = %(table_name)s::text AND output = %(output)s::text AND expires_at < now() - interval '1 hour';

-- delete_resolved_errors: Delete the failures of rows that were deleted, edited or embedded after the failure.
--   one text
DELETE FROM "public"."crdbvec_row_errors" AS e WHERE e.table_name = %(table_name)s::text AND e.output = %(output)s::text AND NOT EXISTS (SELECT 1 FROM "public"."passage" WHERE "id" = (e.key::jsonb ->> 0)::uuid AND md5(%(seed)s::text || "passage") = e.fingerprint AND ("v" IS NULL OR "v_fingerprint" IS DISTINCT FROM e.fingerprint));
--   template, composite key, special characters in names
DELETE FROM "Sales eu"."crdbvec_row_errors" AS e WHERE e.table_name = %(table_name)s::text AND e.output = %(output)s::text AND NOT EXISTS (SELECT 1 FROM "Sales eu"."order.lines" WHERE "realm" = (e.key::jsonb ->> 0)::text AND "chapter" = (e.key::jsonb ->> 1)::integer AND "verse" = (e.key::jsonb ->> 2)::bigint AND md5(%(seed)s::text || ('100% ' || coalesce("the title", '') || ': ' || coalesce("body", '') || ' %(limit)s')) = e.fingerprint AND ("v" IS NULL OR "v_fingerprint" IS DISTINCT FROM e.fingerprint));
--   list of columns, trigger, updated_at
DELETE FROM "public"."crdbvec_row_errors" AS e WHERE e.table_name = %(table_name)s::text AND e.output = %(output)s::text AND NOT EXISTS (SELECT 1 FROM "public"."note" WHERE "id" = (e.key::jsonb ->> 0)::bigint AND md5(%(seed)s::text || concat_ws(E'\n', "title", "body", "year"::text)) = e.fingerprint AND ("v" IS NULL OR "v_fingerprint" IS DISTINCT FROM e.fingerprint));
--   bytea, nulls_only
DELETE FROM "public"."crdbvec_row_errors" AS e WHERE e.table_name = %(table_name)s::text AND e.output = %(output)s::text AND NOT EXISTS (SELECT 1 FROM "public"."picture" WHERE "id" = (e.key::jsonb ->> 0)::text AND md5(%(seed)s::text || encode("image", 'hex')) = e.fingerprint AND ("v" IS NULL));

-- describe_indexes: Return the indexes of a table, including its vector indexes.
--   one text
SELECT create_statement FROM [SHOW CREATE TABLE "public"."passage"];
--   template, composite key, special characters in names
SELECT create_statement FROM [SHOW CREATE TABLE "Sales eu"."order.lines"];
--   list of columns, trigger, updated_at
SELECT create_statement FROM [SHOW CREATE TABLE "public"."note"];
--   bytea, nulls_only
SELECT create_statement FROM [SHOW CREATE TABLE "public"."picture"];

-- drop_index: Drop an invalid index, which a failed build has left.
--   one text
DROP INDEX IF EXISTS "public"."passage"@"passage_v_pending";
--   template, composite key, special characters in names
DROP INDEX IF EXISTS "Sales eu"."order.lines"@"order.lines_v_pending";
--   list of columns, trigger, updated_at
DROP INDEX IF EXISTS "public"."note"@"note_v_pending";
--   bytea, nulls_only
DROP INDEX IF EXISTS "public"."picture"@"picture_v_pending";

-- drop_trigger: Drop the trigger.
--   one text
DROP TRIGGER IF EXISTS "crdbvec_stale" ON "public"."passage";
--   template, composite key, special characters in names
DROP TRIGGER IF EXISTS "crdbvec_stale" ON "Sales eu"."order.lines";
--   list of columns, trigger, updated_at
DROP TRIGGER IF EXISTS "crdbvec_stale" ON "public"."note";
--   bytea, nulls_only
DROP TRIGGER IF EXISTS "crdbvec_stale" ON "public"."picture";

-- drop_trigger_function: Drop the function of a trigger that was dropped or replaced.
--   one text
DROP FUNCTION IF EXISTS "public"."a_function";
--   template, composite key, special characters in names
DROP FUNCTION IF EXISTS "Sales eu"."a_function";

-- estimate_table_rows: Return the server's own estimate of a table's rows, if the server has one.
-- (not sent to this server)

-- explain: Return the query plan of a search, one line per row.
EXPLAIN SELECT 1;

-- find_leading_index: Find a valid index without predicate whose first column is the given one.
SELECT 1 FROM pg_catalog.pg_index AS i JOIN pg_catalog.pg_class AS c ON c.oid = i.indrelid JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND array_position(i.indkey::int2[], a.attnum) = array_lower(i.indkey::int2[], 1) WHERE n.nspname = %(schema)s::text AND c.relname = %(table)s::text AND a.attname = %(column)s::text AND i.indisvalid AND i.indpred IS NULL LIMIT 1;

-- find_metadata_tables: List the metadata tables of this project that exist in a schema.
SELECT c.relname FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = %(schema)s::text AND c.relname IN ('crdbvec_row_errors', 'crdbvec_vector_columns', 'crdbvec_metadata_version');

-- find_relation: Find the oid and the kind of the relation of a name.
SELECT c.oid, c.relkind FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = %(schema)s::text AND c.relname = %(table)s::text;

-- find_trigger: Find the function of this project's trigger on a table.
SELECT p.proname FROM pg_catalog.pg_trigger AS t JOIN pg_catalog.pg_proc AS p ON p.oid = t.tgfoid JOIN pg_catalog.pg_class AS c ON c.oid = t.tgrelid JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = %(schema)s::text AND c.relname = %(table)s::text AND t.tgname = %(trigger)s::text;

-- first_and_last_key: Return the smallest and the largest value of a key of one column.
--   one text
(SELECT "id" FROM "public"."passage" ORDER BY "id" LIMIT 1) UNION ALL (SELECT "id" FROM "public"."passage" ORDER BY "id" DESC LIMIT 1);
--   template, composite key, special characters in names
(SELECT "realm", "chapter", "verse" FROM "Sales eu"."order.lines" ORDER BY "realm", "chapter", "verse" LIMIT 1) UNION ALL (SELECT "realm", "chapter", "verse" FROM "Sales eu"."order.lines" ORDER BY "realm", "chapter", "verse" DESC LIMIT 1);
--   list of columns, trigger, updated_at
(SELECT "id" FROM "public"."note" ORDER BY "id" LIMIT 1) UNION ALL (SELECT "id" FROM "public"."note" ORDER BY "id" DESC LIMIT 1);
--   bytea, nulls_only
(SELECT "id" FROM "public"."picture" ORDER BY "id" LIMIT 1) UNION ALL (SELECT "id" FROM "public"."picture" ORDER BY "id" DESC LIMIT 1);

-- has_edited: Return one row if a key range contains a row updated since a time whose vector is stale.
--   list of columns, trigger, updated_at, has_lower=False, has_upper=False, exclude_deferred=False
SELECT 1 FROM "public"."note" WHERE true AND "changed" >= %(since)s::timestamptz AND "v" IS NOT NULL AND (NOT (("title" IS NOT NULL AND btrim("title", E' \t\r\n\f\x0b') <> '') OR ("body" IS NOT NULL AND btrim("body", E' \t\r\n\f\x0b') <> '') OR ("year" IS NOT NULL)) OR "v_fingerprint" IS DISTINCT FROM md5(%(seed)s::text || concat_ws(E'\n', "title", "body", "year"::text))) LIMIT 1;
--   list of columns, trigger, updated_at, has_lower=True, has_upper=True, exclude_deferred=True
SELECT 1 FROM "public"."note" WHERE "id" >= %(lower_0)s::bigint AND "id" < %(upper_0)s::bigint AND "changed" >= %(since)s::timestamptz AND "v" IS NOT NULL AND (NOT (("title" IS NOT NULL AND btrim("title", E' \t\r\n\f\x0b') <> '') OR ("body" IS NOT NULL AND btrim("body", E' \t\r\n\f\x0b') <> '') OR ("year" IS NOT NULL)) OR "v_fingerprint" IS DISTINCT FROM md5(%(seed)s::text || concat_ws(E'\n', "title", "body", "year"::text))) AND NOT EXISTS (SELECT 1 FROM (SELECT e.key AS crdbvec_key, e.fingerprint AS crdbvec_fingerprint FROM "public"."crdbvec_row_errors" AS e WHERE e.table_name = %(table_name)s::text AND e.output = %(output)s::text AND e.next_try > now()) AS crdbvec_waiting WHERE crdbvec_key = jsonb_build_array("id")::text AND crdbvec_fingerprint = md5(%(seed)s::text || concat_ws(E'\n', "title", "body", "year"::text))) LIMIT 1;

-- has_unembedded: Return one row if a key range contains a pending row without a vector.
--   one text, has_lower=False, has_upper=False, exclude_deferred=False
SELECT 1 FROM "public"."passage" WHERE true AND "v" IS NULL AND "passage" IS NOT NULL AND (("passage" IS NOT NULL AND btrim("passage", E' \t\r\n\f\x0b') <> '')) LIMIT 1;
--   one text, has_lower=True, has_upper=True, exclude_deferred=True
SELECT 1 FROM "public"."passage" WHERE "id" >= %(lower_0)s::uuid AND "id" < %(upper_0)s::uuid AND "v" IS NULL AND "passage" IS NOT NULL AND (("passage" IS NOT NULL AND btrim("passage", E' \t\r\n\f\x0b') <> '')) AND NOT EXISTS (SELECT 1 FROM (SELECT e.key AS crdbvec_key, e.fingerprint AS crdbvec_fingerprint FROM "public"."crdbvec_row_errors" AS e WHERE e.table_name = %(table_name)s::text AND e.output = %(output)s::text AND e.next_try > now()) AS crdbvec_waiting WHERE crdbvec_key = jsonb_build_array("id")::text AND crdbvec_fingerprint = md5(%(seed)s::text || "passage")) LIMIT 1;
--   template, composite key, special characters in names, has_lower=True, has_upper=True, exclude_deferred=True
SELECT 1 FROM "Sales eu"."order.lines" WHERE ("realm", "chapter", "verse") >= (%(lower_0)s::text, %(lower_1)s::integer, %(lower_2)s::bigint) AND ("realm", "chapter", "verse") < (%(upper_0)s::text, %(upper_1)s::integer, %(upper_2)s::bigint) AND "v" IS NULL AND ("the title" IS NOT NULL OR "body" IS NOT NULL) AND (("the title" IS NOT NULL AND btrim("the title", E' \t\r\n\f\x0b') <> '') OR ("body" IS NOT NULL AND btrim("body", E' \t\r\n\f\x0b') <> '')) AND NOT EXISTS (SELECT 1 FROM (SELECT e.key AS crdbvec_key, e.fingerprint AS crdbvec_fingerprint FROM "Sales eu"."crdbvec_row_errors" AS e WHERE e.table_name = %(table_name)s::text AND e.output = %(output)s::text AND e.next_try > now()) AS crdbvec_waiting WHERE crdbvec_key = jsonb_build_array("realm", "chapter", "verse")::text AND crdbvec_fingerprint = md5(%(seed)s::text || ('100% ' || coalesce("the title", '') || ': ' || coalesce("body", '') || ' %(limit)s'))) LIMIT 1;
--   list of columns, trigger, updated_at, has_lower=True, has_upper=True, exclude_deferred=True
SELECT 1 FROM "public"."note" WHERE "id" >= %(lower_0)s::bigint AND "id" < %(upper_0)s::bigint AND "v" IS NULL AND ("title" IS NOT NULL OR "body" IS NOT NULL OR "year" IS NOT NULL) AND (("title" IS NOT NULL AND btrim("title", E' \t\r\n\f\x0b') <> '') OR ("body" IS NOT NULL AND btrim("body", E' \t\r\n\f\x0b') <> '') OR ("year" IS NOT NULL)) AND NOT EXISTS (SELECT 1 FROM (SELECT e.key AS crdbvec_key, e.fingerprint AS crdbvec_fingerprint FROM "public"."crdbvec_row_errors" AS e WHERE e.table_name = %(table_name)s::text AND e.output = %(output)s::text AND e.next_try > now()) AS crdbvec_waiting WHERE crdbvec_key = jsonb_build_array("id")::text AND crdbvec_fingerprint = md5(%(seed)s::text || concat_ws(E'\n', "title", "body", "year"::text))) LIMIT 1;
--   bytea, nulls_only, has_lower=True, has_upper=True, exclude_deferred=True
SELECT 1 FROM "public"."picture" WHERE "id" >= %(lower_0)s::text AND "id" < %(upper_0)s::text AND "v" IS NULL AND "image" IS NOT NULL AND (("image" IS NOT NULL AND length("image") > 0)) AND NOT EXISTS (SELECT 1 FROM (SELECT e.key AS crdbvec_key, e.fingerprint AS crdbvec_fingerprint FROM "public"."crdbvec_row_errors" AS e WHERE e.table_name = %(table_name)s::text AND e.output = %(output)s::text AND e.next_try > now()) AS crdbvec_waiting WHERE crdbvec_key = jsonb_build_array("id")::text AND crdbvec_fingerprint = md5(%(seed)s::text || encode("image", 'hex'))) LIMIT 1;

-- has_vector_type: Return whether the VECTOR type exists, as 0 or 1.
SELECT count(*) FROM pg_catalog.pg_type WHERE typname = 'vector';

-- index_progress: Return the completed share of a running index build.
SELECT fraction_completed::float8 FROM [SHOW JOBS] WHERE job_type = 'NEW SCHEMA CHANGE' AND status IN ('pending', 'running', 'reverting') AND strpos(description, %(index)s::text) > 0 AND strpos(description, %(table)s::text) > 0 ORDER BY created DESC LIMIT 1;

-- index_size: Return the size in bytes of an index.
--   one text
SELECT sum(range_size)::int8 FROM [SHOW RANGES FROM INDEX "public"."passage"@"passage_v_pending" WITH DETAILS];
--   template, composite key, special characters in names
SELECT sum(range_size)::int8 FROM [SHOW RANGES FROM INDEX "Sales eu"."order.lines"@"order.lines_v_pending" WITH DETAILS];
--   list of columns, trigger, updated_at
SELECT sum(range_size)::int8 FROM [SHOW RANGES FROM INDEX "public"."note"@"note_v_pending" WITH DETAILS];
--   bytea, nulls_only
SELECT sum(range_size)::int8 FROM [SHOW RANGES FROM INDEX "public"."picture"@"picture_v_pending" WITH DETAILS];

-- index_state: Find an index by name, and return whether it is valid or being built; another process may be building
--     it.
SELECT i.indisvalid OR false FROM pg_catalog.pg_index AS i JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = %(schema)s::text AND c.relname = %(index)s::text;

-- indexes_named: Return the tables of a schema that have an index with a name, and whether it is valid or being
--     built.
SELECT t.relname, i.indisvalid OR false FROM pg_catalog.pg_index AS i JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid JOIN pg_catalog.pg_class AS t ON t.oid = i.indrelid JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = %(schema)s::text AND c.relname = %(index)s::text;

-- insert_claim: Claim a key range.
INSERT INTO "public"."crdbvec_claims" (table_name, output, owner, lower_bound, upper_bound, claimed_at, expires_at) VALUES (%(table_name)s::text, %(output)s::text, %(owner)s::text, %(lower_bound)s::text, %(upper_bound)s::text, now(), now() + %(lifetime)s::interval);

-- insert_sample_row: Insert one gloss; an existing row stays unchanged.
INSERT INTO "public"."gloss" (id, word, gloss) VALUES (%(id)s, %(word)s::text, %(gloss)s::text) ON CONFLICT (id) DO NOTHING;

-- key_at_stride: Return the key `stride` rows after a key or after the first one; no row if the table ends before it.
--   one text, has_start=False
SELECT "id" FROM "public"."passage" WHERE true ORDER BY "id" LIMIT 1 OFFSET %(stride)s::bigint;
--   one text, has_start=True
SELECT "id" FROM "public"."passage" WHERE "id" >= %(lower_0)s::uuid ORDER BY "id" LIMIT 1 OFFSET %(stride)s::bigint;
--   template, composite key, special characters in names, has_start=True
SELECT "realm", "chapter", "verse" FROM "Sales eu"."order.lines" WHERE ("realm", "chapter", "verse") >= (%(lower_0)s::text, %(lower_1)s::integer, %(lower_2)s::bigint) ORDER BY "realm", "chapter", "verse" LIMIT 1 OFFSET %(stride)s::bigint;
--   list of columns, trigger, updated_at, has_start=True
SELECT "id" FROM "public"."note" WHERE "id" >= %(lower_0)s::bigint ORDER BY "id" LIMIT 1 OFFSET %(stride)s::bigint;
--   bytea, nulls_only, has_start=True
SELECT "id" FROM "public"."picture" WHERE "id" >= %(lower_0)s::text ORDER BY "id" LIMIT 1 OFFSET %(stride)s::bigint;

-- list_columns: List all columns, also hidden ones, because CockroachDB's hidden `rowid` can be the key.
SELECT a.attname, t.typname, format_type(a.atttypid, NULL), a.atttypmod FROM pg_catalog.pg_attribute AS a JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid WHERE a.attrelid = %(oid)s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum;

-- list_errors: List the failed rows, the latest failure first.
SELECT e.key, e.class, e.attempts, e.next_try, e.message, e.first_seen, e.last_seen FROM "public"."crdbvec_row_errors" AS e WHERE e.table_name = %(table_name)s::text AND e.output = %(output)s::text ORDER BY e.last_seen DESC, e.key LIMIT %(limit)s;

-- list_key_columns: List the columns of the primary key in key order, then those of INCLUDE, each with the length of
--     the key.
SELECT a.attname, i.indnkeyatts FROM pg_catalog.pg_index AS i JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey) WHERE i.indrelid = %(oid)s AND i.indisprimary ORDER BY array_position(i.indkey::int2[], a.attnum);

-- list_relations: List the tables of the database, to suggest one for a name that does not exist.
SELECT n.nspname, c.relname FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'crdb_internal', 'pg_extension') ORDER BY n.nspname, c.relname LIMIT 1000;

-- locate_keys: Count the given keys by the number of the given bounds that are not greater, in the table's own key
--     order.
--   one text, bounds=2, keys=2
SELECT place, count(*) FROM (SELECT (SELECT count(*) FROM (VALUES (%(bound_0_0)s::uuid), (%(bound_1_0)s::uuid)) AS bounds ("bound_0") WHERE ("located"."id") >= ("bound_0")) AS place FROM "public"."passage" AS located WHERE ("id") IN ((%(key_0_0)s::uuid), (%(key_1_0)s::uuid))) AS places GROUP BY place;
--   template, composite key, special characters in names, bounds=2, keys=2
SELECT place, count(*) FROM (SELECT (SELECT count(*) FROM (VALUES (%(bound_0_0)s::text, %(bound_0_1)s::integer, %(bound_0_2)s::bigint), (%(bound_1_0)s::text, %(bound_1_1)s::integer, %(bound_1_2)s::bigint)) AS bounds ("bound_0", "bound_1", "bound_2") WHERE ("located"."realm", "located"."chapter", "located"."verse") >= ("bound_0", "bound_1", "bound_2")) AS place FROM "Sales eu"."order.lines" AS located WHERE ("realm", "chapter", "verse") IN ((%(key_0_0)s::text, %(key_0_1)s::integer, %(key_0_2)s::bigint), (%(key_1_0)s::text, %(key_1_1)s::integer, %(key_1_2)s::bigint))) AS places GROUP BY place;
--   list of columns, trigger, updated_at, bounds=2, keys=2
SELECT place, count(*) FROM (SELECT (SELECT count(*) FROM (VALUES (%(bound_0_0)s::bigint), (%(bound_1_0)s::bigint)) AS bounds ("bound_0") WHERE ("located"."id") >= ("bound_0")) AS place FROM "public"."note" AS located WHERE ("id") IN ((%(key_0_0)s::bigint), (%(key_1_0)s::bigint))) AS places GROUP BY place;
--   bytea, nulls_only, bounds=2, keys=2
SELECT place, count(*) FROM (SELECT (SELECT count(*) FROM (VALUES (%(bound_0_0)s::text), (%(bound_1_0)s::text)) AS bounds ("bound_0") WHERE ("located"."id") >= ("bound_0")) AS place FROM "public"."picture" AS located WHERE ("id") IN ((%(key_0_0)s::text), (%(key_1_0)s::text))) AS places GROUP BY place;

-- nearest_exact: Return the `limit` rows nearest to a vector by comparing every row. Rows without a vector are
--     excluded.
--   one text, metric=cosine, clauses=default
SELECT ("v" <=> %(vector)s::vector) AS crdbvec_distance, "passage", "id" FROM "public"."passage" WHERE "v" IS NOT NULL ORDER BY nullif(("v" <=> %(vector)s::vector), 'NaN'::float8) NULLS LAST, "id" LIMIT %(limit)s;
--   one text, metric=cosine, clauses=all
SELECT ("v" <=> %(vector)s::vector) AS crdbvec_distance, "passage", "id", "id" FROM "public"."passage" AS OF SYSTEM TIME follower_read_timestamp() WHERE "v" IS NOT NULL AND "id" = %(filter_0_0)s::uuid AND ("id" IN (%(filter_0_0)s::uuid, %(filter_0_1)s::uuid) OR "id" IS NULL) AND ("v" <=> %(vector)s::vector) <= %(max_distance)s::float8 AND NOT ("id" = %(key_0)s::uuid) ORDER BY nullif(("v" <=> %(vector)s::vector), 'NaN'::float8) NULLS LAST, "id" LIMIT %(limit)s;
--   one text, metric=l2, clauses=default
SELECT ("v" <-> %(vector)s::vector) AS crdbvec_distance, "passage", "id" FROM "public"."passage" WHERE "v" IS NOT NULL ORDER BY nullif(("v" <-> %(vector)s::vector), 'NaN'::float8) NULLS LAST, "id" LIMIT %(limit)s;
--   one text, metric=l2, clauses=all
SELECT ("v" <-> %(vector)s::vector) AS crdbvec_distance, "passage", "id", "id" FROM "public"."passage" AS OF SYSTEM TIME follower_read_timestamp() WHERE "v" IS NOT NULL AND "id" = %(filter_0_0)s::uuid AND ("id" IN (%(filter_0_0)s::uuid, %(filter_0_1)s::uuid) OR "id" IS NULL) AND ("v" <-> %(vector)s::vector) <= %(max_distance)s::float8 AND NOT ("id" = %(key_0)s::uuid) ORDER BY nullif(("v" <-> %(vector)s::vector), 'NaN'::float8) NULLS LAST, "id" LIMIT %(limit)s;
--   one text, metric=ip, clauses=default
SELECT ("v" <#> %(vector)s::vector) AS crdbvec_distance, "passage", "id" FROM "public"."passage" WHERE "v" IS NOT NULL ORDER BY nullif(("v" <#> %(vector)s::vector), 'NaN'::float8) NULLS LAST, "id" LIMIT %(limit)s;
--   one text, metric=ip, clauses=all
SELECT ("v" <#> %(vector)s::vector) AS crdbvec_distance, "passage", "id", "id" FROM "public"."passage" AS OF SYSTEM TIME follower_read_timestamp() WHERE "v" IS NOT NULL AND "id" = %(filter_0_0)s::uuid AND ("id" IN (%(filter_0_0)s::uuid, %(filter_0_1)s::uuid) OR "id" IS NULL) AND ("v" <#> %(vector)s::vector) <= %(max_distance)s::float8 AND NOT ("id" = %(key_0)s::uuid) ORDER BY nullif(("v" <#> %(vector)s::vector), 'NaN'::float8) NULLS LAST, "id" LIMIT %(limit)s;
--   template, composite key, special characters in names, metric=ip, clauses=all
SELECT ("v" <#> %(vector)s::vector) AS crdbvec_distance, ('100% ' || coalesce("the title", '') || ': ' || coalesce("body", '') || ' %(limit)s'), "realm", "chapter", "verse", "realm" FROM "Sales eu"."order.lines" AS OF SYSTEM TIME follower_read_timestamp() WHERE "v" IS NOT NULL AND "realm" = %(filter_0_0)s::text AND ("realm" IN (%(filter_0_0)s::text, %(filter_0_1)s::text) OR "realm" IS NULL) AND ("v" <#> %(vector)s::vector) <= %(max_distance)s::float8 AND NOT ("realm" = %(key_0)s::text AND "chapter" = %(key_1)s::integer AND "verse" = %(key_2)s::bigint) ORDER BY nullif(("v" <#> %(vector)s::vector), 'NaN'::float8) NULLS LAST, "realm", "chapter", "verse" LIMIT %(limit)s;
--   list of columns, trigger, updated_at, metric=ip, clauses=all
SELECT ("v" <#> %(vector)s::vector) AS crdbvec_distance, concat_ws(E'\n', "title", "body", "year"::text), "id", "id" FROM "public"."note" AS OF SYSTEM TIME follower_read_timestamp() WHERE "v" IS NOT NULL AND "id" = %(filter_0_0)s::bigint AND ("id" IN (%(filter_0_0)s::bigint, %(filter_0_1)s::bigint) OR "id" IS NULL) AND ("v" <#> %(vector)s::vector) <= %(max_distance)s::float8 AND NOT ("id" = %(key_0)s::bigint) ORDER BY nullif(("v" <#> %(vector)s::vector), 'NaN'::float8) NULLS LAST, "id" LIMIT %(limit)s;
--   bytea, nulls_only, metric=ip, clauses=all
SELECT ("v" <#> %(vector)s::vector) AS crdbvec_distance, "image", "id", "id" FROM "public"."picture" AS OF SYSTEM TIME follower_read_timestamp() WHERE "v" IS NOT NULL AND "id" = %(filter_0_0)s::text AND ("id" IN (%(filter_0_0)s::text, %(filter_0_1)s::text) OR "id" IS NULL) AND ("v" <#> %(vector)s::vector) <= %(max_distance)s::float8 AND NOT ("id" = %(key_0)s::text) ORDER BY nullif(("v" <#> %(vector)s::vector), 'NaN'::float8) NULLS LAST, "id" LIMIT %(limit)s;

-- nearest_indexed: Return the `limit` rows nearest to a vector, from the nearest `fetch` rows that an index scan
--     returns.
--   one text, metric=cosine, clauses=default
SELECT crdbvec_distance, "passage", "id" FROM (SELECT "passage", "id", "v" <=> %(vector)s::vector AS crdbvec_distance FROM "public"."passage" WHERE "v" IS NOT NULL ORDER BY "v" <=> %(vector)s::vector LIMIT %(fetch)s) AS nearest WHERE crdbvec_distance <> 'NaN'::float8 ORDER BY crdbvec_distance + 0 LIMIT %(limit)s;
--   one text, metric=cosine, clauses=without the predicate of a partial index
SELECT crdbvec_distance, "passage", "id" FROM (SELECT "passage", "id", "v" <=> %(vector)s::vector AS crdbvec_distance FROM "public"."passage" ORDER BY "v" <=> %(vector)s::vector LIMIT %(fetch)s) AS nearest WHERE crdbvec_distance <> 'NaN'::float8 ORDER BY crdbvec_distance + 0 LIMIT %(limit)s;
--   one text, metric=cosine, clauses=all
SELECT crdbvec_distance, "passage", "id", "id" FROM (SELECT "passage", "id", "v" <=> %(vector)s::vector AS crdbvec_distance FROM "public"."passage" WHERE "v" IS NOT NULL AND "id" = %(filter_0_0)s::uuid ORDER BY "v" <=> %(vector)s::vector LIMIT %(fetch)s) AS nearest AS OF SYSTEM TIME follower_read_timestamp() WHERE crdbvec_distance <> 'NaN'::float8 AND ("id" IN (%(filter_0_0)s::uuid, %(filter_0_1)s::uuid) OR "id" IS NULL) AND crdbvec_distance <= %(max_distance)s::float8 AND NOT ("id" = %(key_0)s::uuid) ORDER BY crdbvec_distance + 0 LIMIT %(limit)s;
--   one text, metric=l2, clauses=default
SELECT crdbvec_distance, "passage", "id" FROM (SELECT "passage", "id", "v" <-> %(vector)s::vector AS crdbvec_distance FROM "public"."passage" WHERE "v" IS NOT NULL ORDER BY "v" <-> %(vector)s::vector LIMIT %(fetch)s) AS nearest WHERE crdbvec_distance IS NOT NULL ORDER BY crdbvec_distance + 0 LIMIT %(limit)s;
--   one text, metric=l2, clauses=without the predicate of a partial index
SELECT crdbvec_distance, "passage", "id" FROM (SELECT "passage", "id", "v" <-> %(vector)s::vector AS crdbvec_distance FROM "public"."passage" ORDER BY "v" <-> %(vector)s::vector LIMIT %(fetch)s) AS nearest WHERE crdbvec_distance IS NOT NULL ORDER BY crdbvec_distance + 0 LIMIT %(limit)s;
--   one text, metric=l2, clauses=all
SELECT crdbvec_distance, "passage", "id", "id" FROM (SELECT "passage", "id", "v" <-> %(vector)s::vector AS crdbvec_distance FROM "public"."passage" WHERE "v" IS NOT NULL AND "id" = %(filter_0_0)s::uuid ORDER BY "v" <-> %(vector)s::vector LIMIT %(fetch)s) AS nearest AS OF SYSTEM TIME follower_read_timestamp() WHERE crdbvec_distance IS NOT NULL AND ("id" IN (%(filter_0_0)s::uuid, %(filter_0_1)s::uuid) OR "id" IS NULL) AND crdbvec_distance <= %(max_distance)s::float8 AND NOT ("id" = %(key_0)s::uuid) ORDER BY crdbvec_distance + 0 LIMIT %(limit)s;
--   one text, metric=ip, clauses=default
SELECT crdbvec_distance, "passage", "id" FROM (SELECT "passage", "id", "v" <#> %(vector)s::vector AS crdbvec_distance FROM "public"."passage" WHERE "v" IS NOT NULL ORDER BY "v" <#> %(vector)s::vector LIMIT %(fetch)s) AS nearest WHERE crdbvec_distance IS NOT NULL ORDER BY crdbvec_distance + 0 LIMIT %(limit)s;
--   one text, metric=ip, clauses=without the predicate of a partial index
SELECT crdbvec_distance, "passage", "id" FROM (SELECT "passage", "id", "v" <#> %(vector)s::vector AS crdbvec_distance FROM "public"."passage" ORDER BY "v" <#> %(vector)s::vector LIMIT %(fetch)s) AS nearest WHERE crdbvec_distance IS NOT NULL ORDER BY crdbvec_distance + 0 LIMIT %(limit)s;
--   one text, metric=ip, clauses=all
SELECT crdbvec_distance, "passage", "id", "id" FROM (SELECT "passage", "id", "v" <#> %(vector)s::vector AS crdbvec_distance FROM "public"."passage" WHERE "v" IS NOT NULL AND "id" = %(filter_0_0)s::uuid ORDER BY "v" <#> %(vector)s::vector LIMIT %(fetch)s) AS nearest AS OF SYSTEM TIME follower_read_timestamp() WHERE crdbvec_distance IS NOT NULL AND ("id" IN (%(filter_0_0)s::uuid, %(filter_0_1)s::uuid) OR "id" IS NULL) AND crdbvec_distance <= %(max_distance)s::float8 AND NOT ("id" = %(key_0)s::uuid) ORDER BY crdbvec_distance + 0 LIMIT %(limit)s;
--   template, composite key, special characters in names, metric=ip, clauses=all
SELECT crdbvec_distance, ('100% ' || coalesce("the title", '') || ': ' || coalesce("body", '') || ' %(limit)s'), "realm", "chapter", "verse", "realm" FROM (SELECT "the title", "body", "realm", "chapter", "verse", "v" <#> %(vector)s::vector AS crdbvec_distance FROM "Sales eu"."order.lines" WHERE "v" IS NOT NULL AND "realm" = %(filter_0_0)s::text ORDER BY "v" <#> %(vector)s::vector LIMIT %(fetch)s) AS nearest AS OF SYSTEM TIME follower_read_timestamp() WHERE crdbvec_distance IS NOT NULL AND ("realm" IN (%(filter_0_0)s::text, %(filter_0_1)s::text) OR "realm" IS NULL) AND crdbvec_distance <= %(max_distance)s::float8 AND NOT ("realm" = %(key_0)s::text AND "chapter" = %(key_1)s::integer AND "verse" = %(key_2)s::bigint) ORDER BY crdbvec_distance + 0 LIMIT %(limit)s;
--   list of columns, trigger, updated_at, metric=ip, clauses=all
SELECT crdbvec_distance, concat_ws(E'\n', "title", "body", "year"::text), "id", "id" FROM (SELECT "title", "body", "year", "id", "v" <#> %(vector)s::vector AS crdbvec_distance FROM "public"."note" WHERE "v" IS NOT NULL AND "id" = %(filter_0_0)s::bigint ORDER BY "v" <#> %(vector)s::vector LIMIT %(fetch)s) AS nearest AS OF SYSTEM TIME follower_read_timestamp() WHERE crdbvec_distance IS NOT NULL AND ("id" IN (%(filter_0_0)s::bigint, %(filter_0_1)s::bigint) OR "id" IS NULL) AND crdbvec_distance <= %(max_distance)s::float8 AND NOT ("id" = %(key_0)s::bigint) ORDER BY crdbvec_distance + 0 LIMIT %(limit)s;
--   bytea, nulls_only, metric=ip, clauses=all
SELECT crdbvec_distance, "image", "id", "id" FROM (SELECT "image", "id", "v" <#> %(vector)s::vector AS crdbvec_distance FROM "public"."picture" WHERE "v" IS NOT NULL AND "id" = %(filter_0_0)s::text ORDER BY "v" <#> %(vector)s::vector LIMIT %(fetch)s) AS nearest AS OF SYSTEM TIME follower_read_timestamp() WHERE crdbvec_distance IS NOT NULL AND ("id" IN (%(filter_0_0)s::text, %(filter_0_1)s::text) OR "id" IS NULL) AND crdbvec_distance <= %(max_distance)s::float8 AND NOT ("id" = %(key_0)s::text) ORDER BY crdbvec_distance + 0 LIMIT %(limit)s;

-- oldest_pending: Return the age in seconds of the earliest `updated_at` among the pending rows.
--   list of columns, trigger, updated_at
SELECT extract(epoch FROM now() - min("changed"))::float8 FROM "public"."note" WHERE ("v" IS NULL AND ("title" IS NOT NULL OR "body" IS NOT NULL OR "year" IS NOT NULL) AND (("title" IS NOT NULL AND btrim("title", E' \t\r\n\f\x0b') <> '') OR ("body" IS NOT NULL AND btrim("body", E' \t\r\n\f\x0b') <> '') OR ("year" IS NOT NULL)) OR "v" IS NOT NULL AND (("title" IS NOT NULL AND btrim("title", E' \t\r\n\f\x0b') <> '') OR ("body" IS NOT NULL AND btrim("body", E' \t\r\n\f\x0b') <> '') OR ("year" IS NOT NULL)) AND "v_fingerprint" IS DISTINCT FROM md5(%(seed)s::text || concat_ws(E'\n', "title", "body", "year"::text)));

-- read_earlier_claims: Read the claims of other owners that overlap a key range, have not expired, and are older than
--     the owner's own.
--   one text, has_lower=False, has_upper=False
SELECT c.owner, c.lower_bound, c.upper_bound FROM "public"."crdbvec_claims" AS c LEFT JOIN "public"."crdbvec_claims" AS own ON own.table_name = c.table_name AND own.output = c.output AND own.owner = %(owner)s::text WHERE c.table_name = %(table_name)s::text AND c.output = %(output)s::text AND c.owner <> %(owner)s::text AND c.expires_at > now() AND (own.owner IS NULL OR c.claimed_at < own.claimed_at OR (c.claimed_at = own.claimed_at AND c.owner < own.owner)) ORDER BY c.claimed_at, c.owner;
--   one text, has_lower=True, has_upper=True
SELECT c.owner, c.lower_bound, c.upper_bound FROM "public"."crdbvec_claims" AS c LEFT JOIN "public"."crdbvec_claims" AS own ON own.table_name = c.table_name AND own.output = c.output AND own.owner = %(owner)s::text WHERE c.table_name = %(table_name)s::text AND c.output = %(output)s::text AND c.owner <> %(owner)s::text AND c.expires_at > now() AND (own.owner IS NULL OR c.claimed_at < own.claimed_at OR (c.claimed_at = own.claimed_at AND c.owner < own.owner)) AND (c.upper_bound IS NULL OR (c.upper_bound::jsonb ->> 0)::uuid > %(lower_0)s::uuid) AND (c.lower_bound IS NULL OR (c.lower_bound::jsonb ->> 0)::uuid < %(upper_0)s::uuid) ORDER BY c.claimed_at, c.owner;
--   template, composite key, special characters in names, has_lower=True, has_upper=True
SELECT c.owner, c.lower_bound, c.upper_bound FROM "Sales eu"."crdbvec_claims" AS c LEFT JOIN "Sales eu"."crdbvec_claims" AS own ON own.table_name = c.table_name AND own.output = c.output AND own.owner = %(owner)s::text WHERE c.table_name = %(table_name)s::text AND c.output = %(output)s::text AND c.owner <> %(owner)s::text AND c.expires_at > now() AND (own.owner IS NULL OR c.claimed_at < own.claimed_at OR (c.claimed_at = own.claimed_at AND c.owner < own.owner)) AND (c.upper_bound IS NULL OR ((c.upper_bound::jsonb ->> 0)::text, (c.upper_bound::jsonb ->> 1)::integer, (c.upper_bound::jsonb ->> 2)::bigint) > (%(lower_0)s::text, %(lower_1)s::integer, %(lower_2)s::bigint)) AND (c.lower_bound IS NULL OR ((c.lower_bound::jsonb ->> 0)::text, (c.lower_bound::jsonb ->> 1)::integer, (c.lower_bound::jsonb ->> 2)::bigint) < (%(upper_0)s::text, %(upper_1)s::integer, %(upper_2)s::bigint)) ORDER BY c.claimed_at, c.owner;
--   list of columns, trigger, updated_at, has_lower=True, has_upper=True
SELECT c.owner, c.lower_bound, c.upper_bound FROM "public"."crdbvec_claims" AS c LEFT JOIN "public"."crdbvec_claims" AS own ON own.table_name = c.table_name AND own.output = c.output AND own.owner = %(owner)s::text WHERE c.table_name = %(table_name)s::text AND c.output = %(output)s::text AND c.owner <> %(owner)s::text AND c.expires_at > now() AND (own.owner IS NULL OR c.claimed_at < own.claimed_at OR (c.claimed_at = own.claimed_at AND c.owner < own.owner)) AND (c.upper_bound IS NULL OR (c.upper_bound::jsonb ->> 0)::bigint > %(lower_0)s::bigint) AND (c.lower_bound IS NULL OR (c.lower_bound::jsonb ->> 0)::bigint < %(upper_0)s::bigint) ORDER BY c.claimed_at, c.owner;
--   bytea, nulls_only, has_lower=True, has_upper=True
SELECT c.owner, c.lower_bound, c.upper_bound FROM "public"."crdbvec_claims" AS c LEFT JOIN "public"."crdbvec_claims" AS own ON own.table_name = c.table_name AND own.output = c.output AND own.owner = %(owner)s::text WHERE c.table_name = %(table_name)s::text AND c.output = %(output)s::text AND c.owner <> %(owner)s::text AND c.expires_at > now() AND (own.owner IS NULL OR c.claimed_at < own.claimed_at OR (c.claimed_at = own.claimed_at AND c.owner < own.owner)) AND (c.upper_bound IS NULL OR (c.upper_bound::jsonb ->> 0)::text > %(lower_0)s::text) AND (c.lower_bound IS NULL OR (c.lower_bound::jsonb ->> 0)::text < %(upper_0)s::text) ORDER BY c.claimed_at, c.owner;

-- read_installation_time: Read when the metadata tables were made, and the name of the database.
SELECT current_database(), min(installed_at)::text FROM "public"."crdbvec_metadata_version";

-- read_pending: Read one page of the pending rows of a key range in key order: key, input, fingerprint.
--   one text, kind=unembedded, has_lower=False, has_upper=False, has_after=False, exclude_deferred=False, excluded=0 ranges
SELECT "id", "passage", md5(%(seed)s::text || "passage") FROM "public"."passage" WHERE true AND "v" IS NULL AND "passage" IS NOT NULL AND (("passage" IS NOT NULL AND btrim("passage", E' \t\r\n\f\x0b') <> '')) ORDER BY "id" LIMIT %(limit)s;
--   one text, kind=unembedded, has_lower=True, has_upper=True, has_after=True, exclude_deferred=True, excluded=0 ranges
SELECT "id", "passage", md5(%(seed)s::text || "passage") FROM "public"."passage" WHERE "id" > %(after_0)s::uuid AND "id" < %(upper_0)s::uuid AND "v" IS NULL AND "passage" IS NOT NULL AND (("passage" IS NOT NULL AND btrim("passage", E' \t\r\n\f\x0b') <> '')) AND NOT EXISTS (SELECT 1 FROM (SELECT e.key AS crdbvec_key, e.fingerprint AS crdbvec_fingerprint FROM "public"."crdbvec_row_errors" AS e WHERE e.table_name = %(table_name)s::text AND e.output = %(output)s::text AND e.next_try > now()) AS crdbvec_waiting WHERE crdbvec_key = jsonb_build_array("id")::text AND crdbvec_fingerprint = md5(%(seed)s::text || "passage")) ORDER BY "id" LIMIT %(limit)s;
--   one text, kind=unembedded, has_lower=False, has_upper=False, has_after=False, exclude_deferred=False, excluded=2 ranges
SELECT "id", "passage", md5(%(seed)s::text || "passage") FROM "public"."passage" WHERE true AND "v" IS NULL AND "passage" IS NOT NULL AND (("passage" IS NOT NULL AND btrim("passage", E' \t\r\n\f\x0b') <> '')) AND NOT ("id" >= %(excluded_0_lower_0)s::uuid AND "id" < %(excluded_0_upper_0)s::uuid) AND NOT ("id" < %(excluded_1_upper_0)s::uuid) ORDER BY "id" LIMIT %(limit)s;
--   one text, kind=unembedded, has_lower=True, has_upper=True, has_after=True, exclude_deferred=True, excluded=2 ranges
SELECT "id", "passage", md5(%(seed)s::text || "passage") FROM "public"."passage" WHERE "id" > %(after_0)s::uuid AND "id" < %(upper_0)s::uuid AND "v" IS NULL AND "passage" IS NOT NULL AND (("passage" IS NOT NULL AND btrim("passage", E' \t\r\n\f\x0b') <> '')) AND NOT EXISTS (SELECT 1 FROM (SELECT e.key AS crdbvec_key, e.fingerprint AS crdbvec_fingerprint FROM "public"."crdbvec_row_errors" AS e WHERE e.table_name = %(table_name)s::text AND e.output = %(output)s::text AND e.next_try > now()) AS crdbvec_waiting WHERE crdbvec_key = jsonb_build_array("id")::text AND crdbvec_fingerprint = md5(%(seed)s::text || "passage")) AND NOT ("id" >= %(excluded_0_lower_0)s::uuid AND "id" < %(excluded_0_upper_0)s::uuid) AND NOT ("id" < %(excluded_1_upper_0)s::uuid) ORDER BY "id" LIMIT %(limit)s;
--   one text, kind=stale, has_lower=False, has_upper=False, has_after=False, exclude_deferred=False, excluded=0 ranges
SELECT "id", "passage", md5(%(seed)s::text || "passage") FROM "public"."passage" WHERE true AND "v" IS NOT NULL AND (("passage" IS NOT NULL AND btrim("passage", E' \t\r\n\f\x0b') <> '')) AND "v_fingerprint" IS DISTINCT FROM md5(%(seed)s::text || "passage") ORDER BY "id" LIMIT %(limit)s;
--   one text, kind=stale, has_lower=True, has_upper=True, has_after=True, exclude_deferred=True, excluded=0 ranges
SELECT "id", "passage", md5(%(seed)s::text || "passage") FROM "public"."passage" WHERE "id" > %(after_0)s::uuid AND "id" < %(upper_0)s::uuid AND "v" IS NOT NULL AND (("passage" IS NOT NULL AND btrim("passage", E' \t\r\n\f\x0b') <> '')) AND "v_fingerprint" IS DISTINCT FROM md5(%(seed)s::text || "passage") AND NOT EXISTS (SELECT 1 FROM (SELECT e.key AS crdbvec_key, e.fingerprint AS crdbvec_fingerprint FROM "public"."crdbvec_row_errors" AS e WHERE e.table_name = %(table_name)s::text AND e.output = %(output)s::text AND e.next_try > now()) AS crdbvec_waiting WHERE crdbvec_key = jsonb_build_array("id")::text AND crdbvec_fingerprint = md5(%(seed)s::text || "passage")) ORDER BY "id" LIMIT %(limit)s;
--   one text, kind=stale, has_lower=False, has_upper=False, has_after=False, exclude_deferred=False, excluded=2 ranges
SELECT "id", "passage", md5(%(seed)s::text || "passage") FROM "public"."passage" WHERE true AND "v" IS NOT NULL AND (("passage" IS NOT NULL AND btrim("passage", E' \t\r\n\f\x0b') <> '')) AND "v_fingerprint" IS DISTINCT FROM md5(%(seed)s::text || "passage") AND NOT ("id" >= %(excluded_0_lower_0)s::uuid AND "id" < %(excluded_0_upper_0)s::uuid) AND NOT ("id" < %(excluded_1_upper_0)s::uuid) ORDER BY "id" LIMIT %(limit)s;
--   one text, kind=stale, has_lower=True, has_upper=True, has_after=True, exclude_deferred=True, excluded=2 ranges
SELECT "id", "passage", md5(%(seed)s::text || "passage") FROM "public"."passage" WHERE "id" > %(after_0)s::uuid AND "id" < %(upper_0)s::uuid AND "v" IS NOT NULL AND (("passage" IS NOT NULL AND btrim("passage", E' \t\r\n\f\x0b') <> '')) AND "v_fingerprint" IS DISTINCT FROM md5(%(seed)s::text || "passage") AND NOT EXISTS (SELECT 1 FROM (SELECT e.key AS crdbvec_key, e.fingerprint AS crdbvec_fingerprint FROM "public"."crdbvec_row_errors" AS e WHERE e.table_name = %(table_name)s::text AND e.output = %(output)s::text AND e.next_try > now()) AS crdbvec_waiting WHERE crdbvec_key = jsonb_build_array("id")::text AND crdbvec_fingerprint = md5(%(seed)s::text || "passage")) AND NOT ("id" >= %(excluded_0_lower_0)s::uuid AND "id" < %(excluded_0_upper_0)s::uuid) AND NOT ("id" < %(excluded_1_upper_0)s::uuid) ORDER BY "id" LIMIT %(limit)s;
--   template, composite key, special characters in names, kind=edited, has_lower=True, has_upper=True, has_after=True, exclude_deferred=True, excluded=2 ranges
SELECT "realm", "chapter", "verse", ('100% ' || coalesce("the title", '') || ': ' || coalesce("body", '') || ' %(limit)s'), md5(%(seed)s::text || ('100% ' || coalesce("the title", '') || ': ' || coalesce("body", '') || ' %(limit)s')) FROM "Sales eu"."order.lines" WHERE ("realm", "chapter", "verse") > (%(after_0)s::text, %(after_1)s::integer, %(after_2)s::bigint) AND ("realm", "chapter", "verse") < (%(upper_0)s::text, %(upper_1)s::integer, %(upper_2)s::bigint) AND "v" IS NOT NULL AND (("the title" IS NOT NULL AND btrim("the title", E' \t\r\n\f\x0b') <> '') OR ("body" IS NOT NULL AND btrim("body", E' \t\r\n\f\x0b') <> '')) AND "v_fingerprint" IS DISTINCT FROM md5(%(seed)s::text || ('100% ' || coalesce("the title", '') || ': ' || coalesce("body", '') || ' %(limit)s')) AND NOT EXISTS (SELECT 1 FROM (SELECT e.key AS crdbvec_key, e.fingerprint AS crdbvec_fingerprint FROM "Sales eu"."crdbvec_row_errors" AS e WHERE e.table_name = %(table_name)s::text AND e.output = %(output)s::text AND e.next_try > now()) AS crdbvec_waiting WHERE crdbvec_key = jsonb_build_array("realm", "chapter", "verse")::text AND crdbvec_fingerprint = md5(%(seed)s::text || ('100% ' || coalesce("the title", '') || ': ' || coalesce("body", '') || ' %(limit)s'))) AND NOT (("realm", "chapter", "verse") >= (%(excluded_0_lower_0)s::text, %(excluded_0_lower_1)s::integer, %(excluded_0_lower_2)s::bigint) AND ("realm", "chapter", "verse") < (%(excluded_0_upper_0)s::text, %(excluded_0_upper_1)s::integer, %(excluded_0_upper_2)s::bigint)) AND NOT (("realm", "chapter", "verse") < (%(excluded_1_upper_0)s::text, %(excluded_1_upper_1)s::integer, %(excluded_1_upper_2)s::bigint)) ORDER BY "realm", "chapter", "verse" LIMIT %(limit)s;
--   list of columns, trigger, updated_at, kind=edited, has_lower=True, has_upper=True, has_after=True, exclude_deferred=True, excluded=2 ranges
SELECT "id", concat_ws(E'\n', "title", "body", "year"::text), md5(%(seed)s::text || concat_ws(E'\n', "title", "body", "year"::text)) FROM "public"."note" WHERE "id" > %(after_0)s::bigint AND "id" < %(upper_0)s::bigint AND "changed" >= %(since)s::timestamptz AND "v" IS NOT NULL AND (("title" IS NOT NULL AND btrim("title", E' \t\r\n\f\x0b') <> '') OR ("body" IS NOT NULL AND btrim("body", E' \t\r\n\f\x0b') <> '') OR ("year" IS NOT NULL)) AND "v_fingerprint" IS DISTINCT FROM md5(%(seed)s::text || concat_ws(E'\n', "title", "body", "year"::text)) AND NOT EXISTS (SELECT 1 FROM (SELECT e.key AS crdbvec_key, e.fingerprint AS crdbvec_fingerprint FROM "public"."crdbvec_row_errors" AS e WHERE e.table_name = %(table_name)s::text AND e.output = %(output)s::text AND e.next_try > now()) AS crdbvec_waiting WHERE crdbvec_key = jsonb_build_array("id")::text AND crdbvec_fingerprint = md5(%(seed)s::text || concat_ws(E'\n', "title", "body", "year"::text))) AND NOT ("id" >= %(excluded_0_lower_0)s::bigint AND "id" < %(excluded_0_upper_0)s::bigint) AND NOT ("id" < %(excluded_1_upper_0)s::bigint) ORDER BY "id" LIMIT %(limit)s;
--   bytea, nulls_only, kind=edited, has_lower=True, has_upper=True, has_after=True, exclude_deferred=True, excluded=2 ranges
SELECT "id", "image", md5(%(seed)s::text || encode("image", 'hex')) FROM "public"."picture" WHERE "id" > %(after_0)s::text AND "id" < %(upper_0)s::text AND false AND NOT EXISTS (SELECT 1 FROM (SELECT e.key AS crdbvec_key, e.fingerprint AS crdbvec_fingerprint FROM "public"."crdbvec_row_errors" AS e WHERE e.table_name = %(table_name)s::text AND e.output = %(output)s::text AND e.next_try > now()) AS crdbvec_waiting WHERE crdbvec_key = jsonb_build_array("id")::text AND crdbvec_fingerprint = md5(%(seed)s::text || encode("image", 'hex'))) AND NOT ("id" >= %(excluded_0_lower_0)s::text AND "id" < %(excluded_0_upper_0)s::text) AND NOT ("id" < %(excluded_1_upper_0)s::text) ORDER BY "id" LIMIT %(limit)s;

-- read_range_state: Count the rows of a key range by state, and measure their vectors. NaN sorts above all numbers.
--   one text, has_lower=False, has_upper=False, has_failures=False
SELECT count(*), count("v"), count(*) FILTER (WHERE "v" IS NULL AND "passage" IS NOT NULL AND (("passage" IS NOT NULL AND btrim("passage", E' \t\r\n\f\x0b') <> ''))), count(*) FILTER (WHERE "v" IS NOT NULL AND (("passage" IS NOT NULL AND btrim("passage", E' \t\r\n\f\x0b') <> '')) AND "v_fingerprint" IS DISTINCT FROM md5(%(seed)s::text || "passage")), count(*) FILTER (WHERE false), count(*) FILTER (WHERE false), count(*) FILTER (WHERE NOT (("passage" IS NOT NULL AND btrim("passage", E' \t\r\n\f\x0b') <> ''))), count(*) FILTER (WHERE "v" IS NOT NULL AND NOT (("passage" IS NOT NULL AND btrim("passage", E' \t\r\n\f\x0b') <> ''))), count(*) FILTER (WHERE vector_dims("v") <> %(dimension)s), count(*) FILTER (WHERE vector_norm("v") >= 'Infinity'::float8), count(*) FILTER (WHERE vector_norm("v") = 0), min(vector_norm("v")), max(vector_norm("v")) FROM "public"."passage" WHERE true;
--   one text, has_lower=True, has_upper=True, has_failures=True
SELECT count(*), count("v"), count(*) FILTER (WHERE "v" IS NULL AND "passage" IS NOT NULL AND (("passage" IS NOT NULL AND btrim("passage", E' \t\r\n\f\x0b') <> ''))), count(*) FILTER (WHERE "v" IS NOT NULL AND (("passage" IS NOT NULL AND btrim("passage", E' \t\r\n\f\x0b') <> '')) AND "v_fingerprint" IS DISTINCT FROM md5(%(seed)s::text || "passage")), count(*) FILTER (WHERE EXISTS (SELECT 1 FROM (SELECT e.key AS crdbvec_key, e.fingerprint AS crdbvec_fingerprint FROM "public"."crdbvec_row_errors" AS e WHERE e.table_name = %(table_name)s::text AND e.output = %(output)s::text) AS crdbvec_waiting WHERE crdbvec_key = jsonb_build_array("id")::text AND crdbvec_fingerprint = md5(%(seed)s::text || "passage"))), count(*) FILTER (WHERE ("v" IS NULL AND "passage" IS NOT NULL AND (("passage" IS NOT NULL AND btrim("passage", E' \t\r\n\f\x0b') <> '')) OR "v" IS NOT NULL AND (("passage" IS NOT NULL AND btrim("passage", E' \t\r\n\f\x0b') <> '')) AND "v_fingerprint" IS DISTINCT FROM md5(%(seed)s::text || "passage")) AND NOT (NOT EXISTS (SELECT 1 FROM (SELECT e.key AS crdbvec_key, e.fingerprint AS crdbvec_fingerprint FROM "public"."crdbvec_row_errors" AS e WHERE e.table_name = %(table_name)s::text AND e.output = %(output)s::text AND e.next_try > now()) AS crdbvec_waiting WHERE crdbvec_key = jsonb_build_array("id")::text AND crdbvec_fingerprint = md5(%(seed)s::text || "passage")))), count(*) FILTER (WHERE NOT (("passage" IS NOT NULL AND btrim("passage", E' \t\r\n\f\x0b') <> ''))), count(*) FILTER (WHERE "v" IS NOT NULL AND NOT (("passage" IS NOT NULL AND btrim("passage", E' \t\r\n\f\x0b') <> ''))), count(*) FILTER (WHERE vector_dims("v") <> %(dimension)s), count(*) FILTER (WHERE vector_norm("v") >= 'Infinity'::float8), count(*) FILTER (WHERE vector_norm("v") = 0), min(vector_norm("v")), max(vector_norm("v")) FROM "public"."passage" WHERE "id" >= %(lower_0)s::uuid AND "id" < %(upper_0)s::uuid;
--   template, composite key, special characters in names, has_lower=True, has_upper=True, has_failures=True
SELECT count(*), count("v"), count(*) FILTER (WHERE "v" IS NULL AND ("the title" IS NOT NULL OR "body" IS NOT NULL) AND (("the title" IS NOT NULL AND btrim("the title", E' \t\r\n\f\x0b') <> '') OR ("body" IS NOT NULL AND btrim("body", E' \t\r\n\f\x0b') <> ''))), count(*) FILTER (WHERE "v" IS NOT NULL AND (("the title" IS NOT NULL AND btrim("the title", E' \t\r\n\f\x0b') <> '') OR ("body" IS NOT NULL AND btrim("body", E' \t\r\n\f\x0b') <> '')) AND "v_fingerprint" IS DISTINCT FROM md5(%(seed)s::text || ('100% ' || coalesce("the title", '') || ': ' || coalesce("body", '') || ' %(limit)s'))), count(*) FILTER (WHERE EXISTS (SELECT 1 FROM (SELECT e.key AS crdbvec_key, e.fingerprint AS crdbvec_fingerprint FROM "Sales eu"."crdbvec_row_errors" AS e WHERE e.table_name = %(table_name)s::text AND e.output = %(output)s::text) AS crdbvec_waiting WHERE crdbvec_key = jsonb_build_array("realm", "chapter", "verse")::text AND crdbvec_fingerprint = md5(%(seed)s::text || ('100% ' || coalesce("the title", '') || ': ' || coalesce("body", '') || ' %(limit)s')))), count(*) FILTER (WHERE ("v" IS NULL AND ("the title" IS NOT NULL OR "body" IS NOT NULL) AND (("the title" IS NOT NULL AND btrim("the title", E' \t\r\n\f\x0b') <> '') OR ("body" IS NOT NULL AND btrim("body", E' \t\r\n\f\x0b') <> '')) OR "v" IS NOT NULL AND (("the title" IS NOT NULL AND btrim("the title", E' \t\r\n\f\x0b') <> '') OR ("body" IS NOT NULL AND btrim("body", E' \t\r\n\f\x0b') <> '')) AND "v_fingerprint" IS DISTINCT FROM md5(%(seed)s::text || ('100% ' || coalesce("the title", '') || ': ' || coalesce("body", '') || ' %(limit)s'))) AND NOT (NOT EXISTS (SELECT 1 FROM (SELECT e.key AS crdbvec_key, e.fingerprint AS crdbvec_fingerprint FROM "Sales eu"."crdbvec_row_errors" AS e WHERE e.table_name = %(table_name)s::text AND e.output = %(output)s::text AND e.next_try > now()) AS crdbvec_waiting WHERE crdbvec_key = jsonb_build_array("realm", "chapter", "verse")::text AND crdbvec_fingerprint = md5(%(seed)s::text || ('100% ' || coalesce("the title", '') || ': ' || coalesce("body", '') || ' %(limit)s'))))), count(*) FILTER (WHERE NOT (("the title" IS NOT NULL AND btrim("the title", E' \t\r\n\f\x0b') <> '') OR ("body" IS NOT NULL AND btrim("body", E' \t\r\n\f\x0b') <> ''))), count(*) FILTER (WHERE "v" IS NOT NULL AND NOT (("the title" IS NOT NULL AND btrim("the title", E' \t\r\n\f\x0b') <> '') OR ("body" IS NOT NULL AND btrim("body", E' \t\r\n\f\x0b') <> ''))), count(*) FILTER (WHERE vector_dims("v") <> %(dimension)s), count(*) FILTER (WHERE vector_norm("v") >= 'Infinity'::float8), count(*) FILTER (WHERE vector_norm("v") = 0), min(vector_norm("v")), max(vector_norm("v")) FROM "Sales eu"."order.lines" WHERE ("realm", "chapter", "verse") >= (%(lower_0)s::text, %(lower_1)s::integer, %(lower_2)s::bigint) AND ("realm", "chapter", "verse") < (%(upper_0)s::text, %(upper_1)s::integer, %(upper_2)s::bigint);
--   list of columns, trigger, updated_at, has_lower=True, has_upper=True, has_failures=True
SELECT count(*), count("v"), count(*) FILTER (WHERE "v" IS NULL AND ("title" IS NOT NULL OR "body" IS NOT NULL OR "year" IS NOT NULL) AND (("title" IS NOT NULL AND btrim("title", E' \t\r\n\f\x0b') <> '') OR ("body" IS NOT NULL AND btrim("body", E' \t\r\n\f\x0b') <> '') OR ("year" IS NOT NULL))), count(*) FILTER (WHERE "v" IS NOT NULL AND (("title" IS NOT NULL AND btrim("title", E' \t\r\n\f\x0b') <> '') OR ("body" IS NOT NULL AND btrim("body", E' \t\r\n\f\x0b') <> '') OR ("year" IS NOT NULL)) AND "v_fingerprint" IS DISTINCT FROM md5(%(seed)s::text || concat_ws(E'\n', "title", "body", "year"::text))), count(*) FILTER (WHERE EXISTS (SELECT 1 FROM (SELECT e.key AS crdbvec_key, e.fingerprint AS crdbvec_fingerprint FROM "public"."crdbvec_row_errors" AS e WHERE e.table_name = %(table_name)s::text AND e.output = %(output)s::text) AS crdbvec_waiting WHERE crdbvec_key = jsonb_build_array("id")::text AND crdbvec_fingerprint = md5(%(seed)s::text || concat_ws(E'\n', "title", "body", "year"::text)))), count(*) FILTER (WHERE ("v" IS NULL AND ("title" IS NOT NULL OR "body" IS NOT NULL OR "year" IS NOT NULL) AND (("title" IS NOT NULL AND btrim("title", E' \t\r\n\f\x0b') <> '') OR ("body" IS NOT NULL AND btrim("body", E' \t\r\n\f\x0b') <> '') OR ("year" IS NOT NULL)) OR "v" IS NOT NULL AND (("title" IS NOT NULL AND btrim("title", E' \t\r\n\f\x0b') <> '') OR ("body" IS NOT NULL AND btrim("body", E' \t\r\n\f\x0b') <> '') OR ("year" IS NOT NULL)) AND "v_fingerprint" IS DISTINCT FROM md5(%(seed)s::text || concat_ws(E'\n', "title", "body", "year"::text))) AND NOT (NOT EXISTS (SELECT 1 FROM (SELECT e.key AS crdbvec_key, e.fingerprint AS crdbvec_fingerprint FROM "public"."crdbvec_row_errors" AS e WHERE e.table_name = %(table_name)s::text AND e.output = %(output)s::text AND e.next_try > now()) AS crdbvec_waiting WHERE crdbvec_key = jsonb_build_array("id")::text AND crdbvec_fingerprint = md5(%(seed)s::text || concat_ws(E'\n', "title", "body", "year"::text))))), count(*) FILTER (WHERE NOT (("title" IS NOT NULL AND btrim("title", E' \t\r\n\f\x0b') <> '') OR ("body" IS NOT NULL AND btrim("body", E' \t\r\n\f\x0b') <> '') OR ("year" IS NOT NULL))), count(*) FILTER (WHERE "v" IS NOT NULL AND NOT (("title" IS NOT NULL AND btrim("title", E' \t\r\n\f\x0b') <> '') OR ("body" IS NOT NULL AND btrim("body", E' \t\r\n\f\x0b') <> '') OR ("year" IS NOT NULL))), count(*) FILTER (WHERE vector_dims("v") <> %(dimension)s), count(*) FILTER (WHERE vector_norm("v") >= 'Infinity'::float8), count(*) FILTER (WHERE vector_norm("v") = 0), min(vector_norm("v")), max(vector_norm("v")) FROM "public"."note" WHERE "id" >= %(lower_0)s::bigint AND "id" < %(upper_0)s::bigint;
--   bytea, nulls_only, has_lower=True, has_upper=True, has_failures=True
SELECT count(*), count("v"), count(*) FILTER (WHERE "v" IS NULL AND "image" IS NOT NULL AND (("image" IS NOT NULL AND length("image") > 0))), count(*) FILTER (WHERE false), count(*) FILTER (WHERE EXISTS (SELECT 1 FROM (SELECT e.key AS crdbvec_key, e.fingerprint AS crdbvec_fingerprint FROM "public"."crdbvec_row_errors" AS e WHERE e.table_name = %(table_name)s::text AND e.output = %(output)s::text) AS crdbvec_waiting WHERE crdbvec_key = jsonb_build_array("id")::text AND crdbvec_fingerprint = md5(%(seed)s::text || encode("image", 'hex')))), count(*) FILTER (WHERE ("v" IS NULL AND "image" IS NOT NULL AND (("image" IS NOT NULL AND length("image") > 0)) OR false) AND NOT (NOT EXISTS (SELECT 1 FROM (SELECT e.key AS crdbvec_key, e.fingerprint AS crdbvec_fingerprint FROM "public"."crdbvec_row_errors" AS e WHERE e.table_name = %(table_name)s::text AND e.output = %(output)s::text AND e.next_try > now()) AS crdbvec_waiting WHERE crdbvec_key = jsonb_build_array("id")::text AND crdbvec_fingerprint = md5(%(seed)s::text || encode("image", 'hex'))))), count(*) FILTER (WHERE NOT (("image" IS NOT NULL AND length("image") > 0))), count(*) FILTER (WHERE "v" IS NOT NULL AND NOT (("image" IS NOT NULL AND length("image") > 0))), count(*) FILTER (WHERE vector_dims("v") <> %(dimension)s), count(*) FILTER (WHERE vector_norm("v") >= 'Infinity'::float8), count(*) FILTER (WHERE vector_norm("v") = 0), min(vector_norm("v")), max(vector_norm("v")) FROM "public"."picture" WHERE "id" >= %(lower_0)s::text AND "id" < %(upper_0)s::text;

-- read_server_identity: Read the identity of the server, if the server has one.
-- (not sent to this server)

-- read_version: Read the installed version.
SELECT max(version) FROM "public"."crdbvec_metadata_version";

-- record_error: Record a failed row. Each further failure of the same input doubles the retry delay, up to `longest`.
--   one text
INSERT INTO "public"."crdbvec_row_errors" AS e (table_name, output, key, fingerprint, class, attempts, next_try, message, first_seen, last_seen) VALUES (%(table_name)s::text, %(output)s::text, jsonb_build_array(%(key_0)s::uuid)::text, %(fingerprint)s::text, %(class)s::text, 1, now() + %(wait)s::interval, %(message)s::text, now(), now()) ON CONFLICT (table_name, output, key) DO UPDATE SET fingerprint = excluded.fingerprint, class = excluded.class, message = excluded.message, last_seen = excluded.last_seen, attempts = CASE WHEN e.fingerprint = excluded.fingerprint THEN e.attempts + 1 ELSE 1 END, next_try = CASE WHEN e.fingerprint = excluded.fingerprint THEN now() + least(%(wait)s::interval * power(2, least(e.attempts, 11)), %(longest)s::interval) ELSE excluded.next_try END;
--   template, composite key, special characters in names
INSERT INTO "Sales eu"."crdbvec_row_errors" AS e (table_name, output, key, fingerprint, class, attempts, next_try, message, first_seen, last_seen) VALUES (%(table_name)s::text, %(output)s::text, jsonb_build_array(%(key_0)s::text, %(key_1)s::integer, %(key_2)s::bigint)::text, %(fingerprint)s::text, %(class)s::text, 1, now() + %(wait)s::interval, %(message)s::text, now(), now()) ON CONFLICT (table_name, output, key) DO UPDATE SET fingerprint = excluded.fingerprint, class = excluded.class, message = excluded.message, last_seen = excluded.last_seen, attempts = CASE WHEN e.fingerprint = excluded.fingerprint THEN e.attempts + 1 ELSE 1 END, next_try = CASE WHEN e.fingerprint = excluded.fingerprint THEN now() + least(%(wait)s::interval * power(2, least(e.attempts, 11)), %(longest)s::interval) ELSE excluded.next_try END;
--   list of columns, trigger, updated_at
INSERT INTO "public"."crdbvec_row_errors" AS e (table_name, output, key, fingerprint, class, attempts, next_try, message, first_seen, last_seen) VALUES (%(table_name)s::text, %(output)s::text, jsonb_build_array(%(key_0)s::bigint)::text, %(fingerprint)s::text, %(class)s::text, 1, now() + %(wait)s::interval, %(message)s::text, now(), now()) ON CONFLICT (table_name, output, key) DO UPDATE SET fingerprint = excluded.fingerprint, class = excluded.class, message = excluded.message, last_seen = excluded.last_seen, attempts = CASE WHEN e.fingerprint = excluded.fingerprint THEN e.attempts + 1 ELSE 1 END, next_try = CASE WHEN e.fingerprint = excluded.fingerprint THEN now() + least(%(wait)s::interval * power(2, least(e.attempts, 11)), %(longest)s::interval) ELSE excluded.next_try END;
--   bytea, nulls_only
INSERT INTO "public"."crdbvec_row_errors" AS e (table_name, output, key, fingerprint, class, attempts, next_try, message, first_seen, last_seen) VALUES (%(table_name)s::text, %(output)s::text, jsonb_build_array(%(key_0)s::text)::text, %(fingerprint)s::text, %(class)s::text, 1, now() + %(wait)s::interval, %(message)s::text, now(), now()) ON CONFLICT (table_name, output, key) DO UPDATE SET fingerprint = excluded.fingerprint, class = excluded.class, message = excluded.message, last_seen = excluded.last_seen, attempts = CASE WHEN e.fingerprint = excluded.fingerprint THEN e.attempts + 1 ELSE 1 END, next_try = CASE WHEN e.fingerprint = excluded.fingerprint THEN now() + least(%(wait)s::interval * power(2, least(e.attempts, 11)), %(longest)s::interval) ELSE excluded.next_try END;

-- renew_claim: Extend the lifetime of a claim.
UPDATE "public"."crdbvec_claims" SET expires_at = now() + %(lifetime)s::interval WHERE table_name = %(table_name)s::text AND output = %(output)s::text AND owner = %(owner)s::text;

-- replace_trigger: Create the trigger, or replace an older one atomically.
--   one text
CREATE OR REPLACE TRIGGER "crdbvec_stale" BEFORE UPDATE ON "public"."passage" FOR EACH ROW EXECUTE FUNCTION "public"."crdbvec_stale_passage_c5b550cb"();
--   template, composite key, special characters in names
CREATE OR REPLACE TRIGGER "crdbvec_stale" BEFORE UPDATE ON "Sales eu"."order.lines" FOR EACH ROW EXECUTE FUNCTION "Sales eu"."crdbvec_stale_order.lines_b5e5ffba"();
--   list of columns, trigger, updated_at
CREATE OR REPLACE TRIGGER "crdbvec_stale" BEFORE UPDATE ON "public"."note" FOR EACH ROW EXECUTE FUNCTION "public"."crdbvec_stale_note_967530f9"();
--   bytea, nulls_only
CREATE OR REPLACE TRIGGER "crdbvec_stale" BEFORE UPDATE ON "public"."picture" FOR EACH ROW EXECUTE FUNCTION "public"."crdbvec_stale_picture_2768dce3"();

-- reset_session: Reset a session setting to its value at the start of the connection.
RESET "statement_timeout";
RESET "vector_search_beam_size";

-- retry_errors: Set the retry time of failed rows to now: of all rows of a column, or of the one with a key.
--   one text, has_key=False
UPDATE "public"."crdbvec_row_errors" AS e SET next_try = now() WHERE e.table_name = %(table_name)s::text AND e.output = %(output)s::text;
--   one text, has_key=True
UPDATE "public"."crdbvec_row_errors" AS e SET next_try = now() WHERE e.table_name = %(table_name)s::text AND e.output = %(output)s::text AND e.key = jsonb_build_array(%(key_0)s::uuid)::text;
--   template, composite key, special characters in names, has_key=True
UPDATE "Sales eu"."crdbvec_row_errors" AS e SET next_try = now() WHERE e.table_name = %(table_name)s::text AND e.output = %(output)s::text AND e.key = jsonb_build_array(%(key_0)s::text, %(key_1)s::integer, %(key_2)s::bigint)::text;
--   list of columns, trigger, updated_at, has_key=True
UPDATE "public"."crdbvec_row_errors" AS e SET next_try = now() WHERE e.table_name = %(table_name)s::text AND e.output = %(output)s::text AND e.key = jsonb_build_array(%(key_0)s::bigint)::text;
--   bytea, nulls_only, has_key=True
UPDATE "public"."crdbvec_row_errors" AS e SET next_try = now() WHERE e.table_name = %(table_name)s::text AND e.output = %(output)s::text AND e.key = jsonb_build_array(%(key_0)s::text)::text;

-- sample_pending: Return the inputs of at most `size` pending rows, evenly spread over their keys.
--   one text, is_prepared=False
SELECT "passage" FROM "public"."passage" WHERE ("id") IN (SELECT "id" FROM (SELECT "id", row_number() OVER (ORDER BY "id") AS place, count(*) OVER () AS total FROM "public"."passage" WHERE (("passage" IS NOT NULL AND btrim("passage", E' \t\r\n\f\x0b') <> ''))) AS pending_rows WHERE (place - 1) % div(total + %(size)s::bigint - 1, %(size)s::bigint) = 0);
--   one text, is_prepared=True
SELECT "passage" FROM "public"."passage" WHERE ("id") IN (SELECT "id" FROM (SELECT "id", row_number() OVER (ORDER BY "id") AS place, count(*) OVER () AS total FROM "public"."passage" WHERE ("v" IS NULL AND "passage" IS NOT NULL AND (("passage" IS NOT NULL AND btrim("passage", E' \t\r\n\f\x0b') <> '')) OR "v" IS NOT NULL AND (("passage" IS NOT NULL AND btrim("passage", E' \t\r\n\f\x0b') <> '')) AND "v_fingerprint" IS DISTINCT FROM md5(%(seed)s::text || "passage"))) AS pending_rows WHERE (place - 1) % div(total + %(size)s::bigint - 1, %(size)s::bigint) = 0);
--   template, composite key, special characters in names, is_prepared=True
SELECT ('100% ' || coalesce("the title", '') || ': ' || coalesce("body", '') || ' %(limit)s') FROM "Sales eu"."order.lines" WHERE ("realm", "chapter", "verse") IN (SELECT "realm", "chapter", "verse" FROM (SELECT "realm", "chapter", "verse", row_number() OVER (ORDER BY "realm", "chapter", "verse") AS place, count(*) OVER () AS total FROM "Sales eu"."order.lines" WHERE ("v" IS NULL AND ("the title" IS NOT NULL OR "body" IS NOT NULL) AND (("the title" IS NOT NULL AND btrim("the title", E' \t\r\n\f\x0b') <> '') OR ("body" IS NOT NULL AND btrim("body", E' \t\r\n\f\x0b') <> '')) OR "v" IS NOT NULL AND (("the title" IS NOT NULL AND btrim("the title", E' \t\r\n\f\x0b') <> '') OR ("body" IS NOT NULL AND btrim("body", E' \t\r\n\f\x0b') <> '')) AND "v_fingerprint" IS DISTINCT FROM md5(%(seed)s::text || ('100% ' || coalesce("the title", '') || ': ' || coalesce("body", '') || ' %(limit)s')))) AS pending_rows WHERE (place - 1) % div(total + %(size)s::bigint - 1, %(size)s::bigint) = 0);
--   list of columns, trigger, updated_at, is_prepared=True
SELECT concat_ws(E'\n', "title", "body", "year"::text) FROM "public"."note" WHERE ("id") IN (SELECT "id" FROM (SELECT "id", row_number() OVER (ORDER BY "id") AS place, count(*) OVER () AS total FROM "public"."note" WHERE ("v" IS NULL AND ("title" IS NOT NULL OR "body" IS NOT NULL OR "year" IS NOT NULL) AND (("title" IS NOT NULL AND btrim("title", E' \t\r\n\f\x0b') <> '') OR ("body" IS NOT NULL AND btrim("body", E' \t\r\n\f\x0b') <> '') OR ("year" IS NOT NULL)) OR "v" IS NOT NULL AND (("title" IS NOT NULL AND btrim("title", E' \t\r\n\f\x0b') <> '') OR ("body" IS NOT NULL AND btrim("body", E' \t\r\n\f\x0b') <> '') OR ("year" IS NOT NULL)) AND "v_fingerprint" IS DISTINCT FROM md5(%(seed)s::text || concat_ws(E'\n', "title", "body", "year"::text)))) AS pending_rows WHERE (place - 1) % div(total + %(size)s::bigint - 1, %(size)s::bigint) = 0);
--   bytea, nulls_only, is_prepared=True
SELECT "image" FROM "public"."picture" WHERE ("id") IN (SELECT "id" FROM (SELECT "id", row_number() OVER (ORDER BY "id") AS place, count(*) OVER () AS total FROM "public"."picture" WHERE ("v" IS NULL AND "image" IS NOT NULL AND (("image" IS NOT NULL AND length("image") > 0)) OR false)) AS pending_rows WHERE (place - 1) % div(total + %(size)s::bigint - 1, %(size)s::bigint) = 0);

-- sample_vectors: Return the vectors and prefix columns of at most `size` rows, evenly spread over the keys, in key
--     order.
--   one text
SELECT "v"::real[] FROM "public"."passage" WHERE ("id") IN (SELECT "id" FROM (SELECT "id", row_number() OVER (ORDER BY "id") AS place, count(*) OVER () AS total FROM "public"."passage" WHERE "v" IS NOT NULL) AS embedded_rows WHERE (place - 1) % div(total + %(size)s::bigint - 1, %(size)s::bigint) = 0) ORDER BY "id";
--   one text
SELECT "v"::real[], "id" FROM "public"."passage" WHERE ("id") IN (SELECT "id" FROM (SELECT "id", row_number() OVER (ORDER BY "id") AS place, count(*) OVER () AS total FROM "public"."passage" WHERE "v" IS NOT NULL) AS embedded_rows WHERE (place - 1) % div(total + %(size)s::bigint - 1, %(size)s::bigint) = 0) ORDER BY "id";
--   template, composite key, special characters in names
SELECT "v"::real[], "realm" FROM "Sales eu"."order.lines" WHERE ("realm", "chapter", "verse") IN (SELECT "realm", "chapter", "verse" FROM (SELECT "realm", "chapter", "verse", row_number() OVER (ORDER BY "realm", "chapter", "verse") AS place, count(*) OVER () AS total FROM "Sales eu"."order.lines" WHERE "v" IS NOT NULL) AS embedded_rows WHERE (place - 1) % div(total + %(size)s::bigint - 1, %(size)s::bigint) = 0) ORDER BY "realm", "chapter", "verse";
--   list of columns, trigger, updated_at
SELECT "v"::real[], "id" FROM "public"."note" WHERE ("id") IN (SELECT "id" FROM (SELECT "id", row_number() OVER (ORDER BY "id") AS place, count(*) OVER () AS total FROM "public"."note" WHERE "v" IS NOT NULL) AS embedded_rows WHERE (place - 1) % div(total + %(size)s::bigint - 1, %(size)s::bigint) = 0) ORDER BY "id";
--   bytea, nulls_only
SELECT "v"::real[], "id" FROM "public"."picture" WHERE ("id") IN (SELECT "id" FROM (SELECT "id", row_number() OVER (ORDER BY "id") AS place, count(*) OVER () AS total FROM "public"."picture" WHERE "v" IS NOT NULL) AS embedded_rows WHERE (place - 1) % div(total + %(size)s::bigint - 1, %(size)s::bigint) = 0) ORDER BY "id";

-- select_column_metadata: List the vector columns of one table.
SELECT output, inputs, fingerprint, staleness, models FROM "public"."crdbvec_vector_columns" WHERE table_name = %(table_name)s::text ORDER BY output;

-- separating_prefix: Return the shortest prefix of a key column's value that is above another value, in the order of
--     the column.
--   template, composite key, special characters in names
SELECT "realm" FROM (SELECT "realm" FROM "Sales eu"."order.lines" WHERE false UNION ALL SELECT (left(%(value)s::text, crdbvec_length))::text FROM generate_series(1, length(%(value)s::text)) AS crdbvec_lengths (crdbvec_length)) AS crdbvec_prefixes WHERE "realm" > %(previous)s::text AND "realm" <= %(value)s::text ORDER BY length("realm"::text) LIMIT 1;
--   bytea, nulls_only
SELECT "id" FROM (SELECT "id" FROM "public"."picture" WHERE false UNION ALL SELECT (left(%(value)s::text, crdbvec_length))::text FROM generate_series(1, length(%(value)s::text)) AS crdbvec_lengths (crdbvec_length)) AS crdbvec_prefixes WHERE "id" > %(previous)s::text AND "id" <= %(value)s::text ORDER BY length("id"::text) LIMIT 1;

-- set_session: Set a session setting, given by name and value.
SET "timezone" = 'UTC';
SET "datestyle" = 'ISO, YMD';
SET "client_encoding" = 'UTF8';
SET "statement_timeout" = '30000ms';
SET "vector_search_beam_size" = 100;
SET "statement_timeout" = '0s';

-- sort_bounds: Sort a number of bounds in key order; returns their positions in the parameters
--     `bound_<position>_<column>`.
--   one text, bounds=2
SELECT crdbvec_position FROM (SELECT 0 AS crdbvec_position, "id" FROM "public"."passage" WHERE false UNION ALL VALUES (0, %(bound_0_0)s::uuid), (1, %(bound_1_0)s::uuid)) AS crdbvec_bounds ORDER BY "id";
--   template, composite key, special characters in names, bounds=2
SELECT crdbvec_position FROM (SELECT 0 AS crdbvec_position, "realm", "chapter", "verse" FROM "Sales eu"."order.lines" WHERE false UNION ALL VALUES (0, %(bound_0_0)s::text, %(bound_0_1)s::integer, %(bound_0_2)s::bigint), (1, %(bound_1_0)s::text, %(bound_1_1)s::integer, %(bound_1_2)s::bigint)) AS crdbvec_bounds ORDER BY "realm", "chapter", "verse";
--   list of columns, trigger, updated_at, bounds=2
SELECT crdbvec_position FROM (SELECT 0 AS crdbvec_position, "id" FROM "public"."note" WHERE false UNION ALL VALUES (0, %(bound_0_0)s::bigint), (1, %(bound_1_0)s::bigint)) AS crdbvec_bounds ORDER BY "id";
--   bytea, nulls_only, bounds=2
SELECT crdbvec_position FROM (SELECT 0 AS crdbvec_position, "id" FROM "public"."picture" WHERE false UNION ALL VALUES (0, %(bound_0_0)s::text), (1, %(bound_1_0)s::text)) AS crdbvec_bounds ORDER BY "id";

-- table_size: Return the size in bytes of a table with its indexes.
--   one text
SELECT sum(range_size)::int8 FROM [SHOW RANGES FROM TABLE "public"."passage" WITH DETAILS];
--   template, composite key, special characters in names
SELECT sum(range_size)::int8 FROM [SHOW RANGES FROM TABLE "Sales eu"."order.lines" WITH DETAILS];
--   list of columns, trigger, updated_at
SELECT sum(range_size)::int8 FROM [SHOW RANGES FROM TABLE "public"."note" WITH DETAILS];
--   bytea, nulls_only
SELECT sum(range_size)::int8 FROM [SHOW RANGES FROM TABLE "public"."picture" WITH DETAILS];

-- upsert_column_metadata: Insert or update one vector column.
INSERT INTO "public"."crdbvec_vector_columns" (table_name, output, inputs, fingerprint, staleness, models, changed_at) VALUES (%(table_name)s::text, %(output)s::text, %(inputs)s::text, %(fingerprint)s::text, %(staleness)s::text, %(models)s::text, now()) ON CONFLICT (table_name, output) DO UPDATE SET inputs = excluded.inputs, fingerprint = excluded.fingerprint, staleness = excluded.staleness, models = excluded.models, changed_at = excluded.changed_at;

-- vector_of_row: Return the vector of the row with a key, as an array.
--   one text
SELECT "v"::real[] FROM "public"."passage" WHERE "id" = %(key_0)s::uuid;
--   template, composite key, special characters in names
SELECT "v"::real[] FROM "Sales eu"."order.lines" WHERE "realm" = %(key_0)s::text AND "chapter" = %(key_1)s::integer AND "verse" = %(key_2)s::bigint;
--   list of columns, trigger, updated_at
SELECT "v"::real[] FROM "public"."note" WHERE "id" = %(key_0)s::bigint;
--   bytea, nulls_only
SELECT "v"::real[] FROM "public"."picture" WHERE "id" = %(key_0)s::text;

-- write_vector: Write the vector of one row if its input is unchanged since it was read (compare-and-set, the guarded
--     write).
--   one text
UPDATE "public"."passage" SET "v" = %(vector)s::vector, "v_fingerprint" = %(fingerprint)s::text WHERE "id" = %(key_0)s::uuid AND md5(%(seed)s::text || "passage") = %(fingerprint)s::text;
--   template, composite key, special characters in names
UPDATE "Sales eu"."order.lines" SET "v" = %(vector)s::vector, "v_fingerprint" = %(fingerprint)s::text WHERE "realm" = %(key_0)s::text AND "chapter" = %(key_1)s::integer AND "verse" = %(key_2)s::bigint AND md5(%(seed)s::text || ('100% ' || coalesce("the title", '') || ': ' || coalesce("body", '') || ' %(limit)s')) = %(fingerprint)s::text;
--   list of columns, trigger, updated_at
UPDATE "public"."note" SET "v" = %(vector)s::vector, "v_fingerprint" = %(fingerprint)s::text WHERE "id" = %(key_0)s::bigint AND md5(%(seed)s::text || concat_ws(E'\n', "title", "body", "year"::text)) = %(fingerprint)s::text;
--   bytea, nulls_only
UPDATE "public"."picture" SET "v" = %(vector)s::vector WHERE "id" = %(key_0)s::text AND md5(%(seed)s::text || encode("image", 'hex')) = %(fingerprint)s::text;

-- write_version: Record that a version is installed.
--   version=2
INSERT INTO "public"."crdbvec_metadata_version" (version, installed_at) VALUES (2, now()) ON CONFLICT (version) DO NOTHING;
