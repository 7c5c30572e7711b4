"""The runtime: the one loop that commits, and what hangs on it.

The committer (`committer.py`, `batch.py`) owns the cache and all writing; its thread only repeats `step`. The event
loop (`runtime.py`) owns everything that waits: callers, worker sessions (`desk.py`), watchers (`hub.py`), timers
(`alarm.py`). Between them goes one immutable `Outcome` per batch. Clock, ids and store are injected.
"""
