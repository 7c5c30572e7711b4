"""The generated stubs of all services, over one channel."""

from __future__ import annotations

from typing import Any

from tradewind.v1 import (
    action_callback_pb2_grpc,
    action_limit_service_pb2_grpc,
    definition_service_pb2_grpc,
    environment_service_pb2_grpc,
    execution_service_pb2_grpc,
    human_task_service_pb2_grpc,
    notification_service_pb2_grpc,
    retention_service_pb2_grpc,
    server_service_pb2_grpc,
    subscription_service_pb2_grpc,
    worker_service_pb2_grpc,
)


def stubs(channel: Any) -> dict[str, Any]:
    """Return the stub of each service by its name; *channel* is sync or asyncio."""
    return {
        "ActionCallback": action_callback_pb2_grpc.ActionCallbackStub(channel),
        "ActionLimitService": action_limit_service_pb2_grpc.ActionLimitServiceStub(channel),
        "DefinitionService": definition_service_pb2_grpc.DefinitionServiceStub(channel),
        "EnvironmentService": environment_service_pb2_grpc.EnvironmentServiceStub(channel),
        "ExecutionService": execution_service_pb2_grpc.ExecutionServiceStub(channel),
        "HumanTaskService": human_task_service_pb2_grpc.HumanTaskServiceStub(channel),
        "NotificationService": notification_service_pb2_grpc.NotificationServiceStub(channel),
        "RetentionService": retention_service_pb2_grpc.RetentionServiceStub(channel),
        "ServerService": server_service_pb2_grpc.ServerServiceStub(channel),
        "SubscriptionService": subscription_service_pb2_grpc.SubscriptionServiceStub(channel),
        "WorkerService": worker_service_pb2_grpc.WorkerServiceStub(channel),
    }
