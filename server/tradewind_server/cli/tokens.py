"""The command token: makes a token, and the entry for the server's file of tokens."""

from __future__ import annotations

from typing import Annotated

import typer
import yaml

from tradewind_server.api.access import EVERY_NAMESPACE, NAMESPACE_RULE, is_namespace
from tradewind_server.api.calls import CALLS
from tradewind_server.api.tokens import digest
from tradewind_server.cli.output import Output
from tradewind_server.cli.session import Unusable, alone
from tradewind_server.ids import SystemIds

_KNOWN_CALLS = ", ".join(sorted(CALLS))
_CALLS_HELP = f"What it may call, of {_KNOWN_CALLS}"


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(token)


@alone
def token(
    output: Output,
    name: Annotated[str, typer.Argument(help="Who will use it; events say so.")],
    namespace: Annotated[list[str] | None, typer.Option(help="What it is for; may be repeated; * for all.")] = None,
    call: Annotated[list[str] | None, typer.Option(help=f"{_CALLS_HELP}; may be repeated; without it, all.")] = None,
) -> None:
    """Make a token for a caller, and the entry for the file that the setting tokens_file names."""
    if not name:
        raise Unusable("Expected a name for the caller, but it is empty.")
    for each in namespace or ():
        if each != EVERY_NAMESPACE and not is_namespace(each):
            raise Unusable(f"Expected a namespace of {NAMESPACE_RULE}, or {EVERY_NAMESPACE}, but got '{each}'.")
    for each in call or ():
        if each not in CALLS:
            raise Unusable(f"Expected calls of {_KNOWN_CALLS}, but got '{each}'.")
    ids = SystemIds()
    made = ids.opaque() + ids.opaque()
    entry = {"name": name, "sha256": digest(made), "namespaces": namespace or ["default"]}
    if call:
        entry["calls"] = call
    text = yaml.safe_dump([entry], sort_keys=False, default_flow_style=None).rstrip()
    output.record({"token": made, "entry": entry}, f"The token, shown only now:\n{made}\n\nFor the file:\n{text}")
