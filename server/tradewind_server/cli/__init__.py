"""The command line `tradewind`.

It speaks to a server through the client, like anyone; `server`, `dev` and `run` start one in the process first, and
`check`, `test` and `graph` of a file need none. What lives here: options, and how answers look to people and to
scripts. What may not: rules of the language or the engine.

Exit codes: 0 it is done; 1 it was refused, or what was asked for did not succeed; 2 the command or its input cannot be
used; 3 no server answers; 130 stopped by Ctrl-C.
"""

from tradewind_server.cli.entry import main

__all__ = ["main"]
