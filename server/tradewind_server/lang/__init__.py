"""The language: YAML text to specs, or to a list of problems; and expressions.

Pure: no clock, id, random, log, SQL, proto, thread. What a definition *means* once it is read stands in
`specs.py`; what happens when it runs is the engine's. Business values and their JSON are made in
`values.py`, numbers computed in `numbers.py`, and nowhere else.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tradewind_server.lang.checking import TEST_SUFFIX, Checked, Source, check, read
    from tradewind_server.lang.json_schema import schema
    from tradewind_server.lang.problems import Problem

__all__ = ["TEST_SUFFIX", "Checked", "Problem", "Source", "check", "read", "schema"]

_HOMES = {"Problem": "problems", "schema": "json_schema"}


def __getattr__(name: str) -> object:
    """Load what is asked for: with its libraries the language takes longer than all else that a command loads."""
    if name not in __all__:
        raise AttributeError(name)
    return getattr(importlib.import_module(f"tradewind_server.lang.{_HOMES.get(name, 'checking')}"), name)
