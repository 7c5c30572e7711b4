"""ServerService: what this server is."""

from __future__ import annotations

from typing import Any

from tradewind.v1 import server_service_pb2 as pb
from tradewind.v1 import server_service_pb2_grpc as service
from tradewind_server import __version__
from tradewind_server.runtime.runtime import Runtime

_FEATURES = ("start-executions", "watch-execution", "work-stream")
_LIMITS = (
    ("max_payload_bytes", "bytes"), ("max_message_bytes", "bytes"), ("max_execution_bytes", "bytes"),
    ("queue_commands", "commands"), ("max_streams", "streams"), ("delivery_lease_seconds", "seconds"),
    ("work_lease_seconds", "seconds"), ("max_attachment_bytes", "bytes"),
)  # fmt: skip


class ServerInfo(service.ServerServiceServicer):
    """Tells version, features and limits."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def GetServerInfo(self, request: pb.GetServerInfoRequest, context: Any) -> Any:
        """Return them."""
        settings = self._runtime.settings
        return pb.GetServerInfoResponse(
            server_info=pb.ServerInfo(
                version=__version__,
                api_versions=["tradewind.v1"],
                features=sorted([*_FEATURES, "reflection"] if settings.reflection else _FEATURES),
                limits=[pb.Limit(name=n, value=getattr(settings, n), unit=unit) for n, unit in _LIMITS],
                database=self._runtime.database.name,
                server_id=self._runtime.server_id,
            )
        )
