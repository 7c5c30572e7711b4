"""The command health: whether a server takes calls, for health checks of containers."""

from __future__ import annotations

from typing import Any

import grpc
import typer
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tradewind.client import open_channel
from tradewind.errors import from_rpc_error
from tradewind_server.cli.session import DONE, NOT_DONE, PATIENCE, Session, on_server


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(health)


@on_server
def health(session: Session) -> None:
    """Tell whether the server takes calls, as load balancers ask it; no token is needed. Exit code 0 if it does."""
    with open_channel(session.connection()) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from None
    status = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    session.output.record({"status": status}, status)
    raise typer.Exit(DONE if answer.status == health_pb2.HealthCheckResponse.SERVING else NOT_DONE)
