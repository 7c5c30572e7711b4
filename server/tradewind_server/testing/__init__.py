"""Shipped helpers for tests: virtual clock, in-process world, scenario runner, tests of workflows.

Nothing in production imports them, but for `tradewind test`, which loads `cases.py` when it is called.
"""
