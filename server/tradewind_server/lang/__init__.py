"""The language: YAML text to specs, or to a list of problems; and expressions.

Pure: no clock, id, random, log, SQL, proto, thread. What a definition *means* once it is read stands in
`specs.py`; what happens when it runs is the engine's. Business values and their JSON are made in
`values.py`, numbers computed in `numbers.py`, and nowhere else.
"""

from tradewind_server.lang.check import TEST_SUFFIX, Checked, Source, check, read
from tradewind_server.lang.problems import Problem
from tradewind_server.lang.schema import schema

__all__ = ["TEST_SUFFIX", "Checked", "Problem", "Source", "check", "read", "schema"]
