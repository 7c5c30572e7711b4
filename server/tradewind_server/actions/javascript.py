"""The actions std.javascript and std.js: a script in a sandbox without input or output.

The script is the body of a function whose argument `$` is the context. JavaScript has binary floats only, so numbers of
more than 15 digits lose some on the way through a script; pass them as text where that matters.
"""

from __future__ import annotations

import asyncio

import quickjs

from tradewind_server.actions.outcome import ActionError
from tradewind_server.actions.parameters import Input, bad
from tradewind_server.lang.values import ValueProblem, decode, encode

#: What one script may use.
MAX_SECONDS = 2
MAX_MEMORY_BYTES = 64 * 1024 * 1024
MAX_STACK_BYTES = 512 * 1024


async def javascript(given: Input) -> object:
    """Return what the script returns.

    Raises:
        ActionError: it throws, takes too long or too much memory, or returns what is no JSON value.
    """
    script = given["script"]
    if not isinstance(script, str) or "\0" in script:
        raise bad("script must be a text without NUL")
    # the engine releases the interpreter lock, so other work goes on
    return await asyncio.to_thread(_run, script, given.get("context"))


def _run(script: str, context: object) -> object:
    engine = quickjs.Context()
    engine.set_memory_limit(MAX_MEMORY_BYTES)
    engine.set_max_stack_size(MAX_STACK_BYTES)
    engine.set_time_limit(MAX_SECONDS)
    try:
        engine.set("__context", encode(context).decode())
        text = engine.eval(f"JSON.stringify((function($) {{{script}\n}})(JSON.parse(__context)))")
        return None if text is None else decode(str(text).encode())
    except (quickjs.JSException, ValueProblem) as error:
        raise ActionError(f"The script failed: {str(error).strip()[:500]}", code="SCRIPT") from None
