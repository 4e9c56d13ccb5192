"""A simulator of C-SPANN, the vector index of CockroachDB, in numpy: its trees, searches and sizes without a server.

What belongs here: the index as CockroachDB's source describes it, and predictions from it. What does not: reading the
table, which `search.index_sample` does. docs/cspann.md says what was validated, and how.
"""
