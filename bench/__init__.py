"""Measures the real server: over gRPC, on SQLite and on PostgreSQL, with workers and clients in processes of their own.

What lives here: the workloads (data, in `workloads/`), what drives them, and the page made of what came out. What may
not: anything that the server would behave differently for. Run it with `make bench`; see README.md.
"""
