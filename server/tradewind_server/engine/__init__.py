"""The engine: PURE. (spec, state, command) -> events, or a refusal.

What lives here: the rules of a running process. What may not: clocks, ids, randomness, logs, SQL, protos, threads.
`now()` is `command.at`; ids inside an execution are counted; `uuid()` is derived from (execution, revision, counter),
so the same command on the same state always gives the same events.

* `decide` turns one command into events. Guards come before the first `emit`: a refused command changes nothing.
* `evolve` is the only writer of state. It never refuses and never looks anything up.
* A side effect is an event; the store projects it to a row (an action to hand out, a timer, a message).

Neighbours: `lang` gives specs and evaluates expressions; `store` keeps events and rows; `runtime` feeds commands.
"""

from tradewind_server.engine.decide import decide
from tradewind_server.engine.decision import Decision
from tradewind_server.engine.evolve import evolve
from tradewind_server.engine.state import Execution

__all__ = ["Decision", "Execution", "decide", "evolve"]
