"""Shipped helpers for tests: virtual clock, in-process world, scenario runner. Nothing in production imports them."""
