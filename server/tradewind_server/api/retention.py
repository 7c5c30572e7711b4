"""RetentionService."""

from __future__ import annotations

from typing import Any

from tradewind.v1 import retention_pb2
from tradewind.v1 import retention_service_pb2 as pb
from tradewind.v1 import retention_service_pb2_grpc as service
from tradewind_server.api import convert
from tradewind_server.api.caller import namespace_of, provenance
from tradewind_server.errors import FieldInvalid
from tradewind_server.runtime import requests as r
from tradewind_server.runtime.runtime import Runtime
from tradewind_server.store import retention
from tradewind_server.store.retention import Rule

_LEAST_SECONDS, _MOST_SECONDS = 60, 100 * 366 * 86_400


class Retention(service.RetentionServiceServicer):
    """Keeps the rules of how long executions are kept."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def PutRetentionRule(self, request: pb.PutRetentionRuleRequest, context: Any) -> Any:
        """Make or replace one."""
        caller = provenance(context, "PutRetentionRule", "")
        rule = Rule(
            namespace_of(request.namespace),
            convert.name_of("rule.workflow", request.rule.workflow),
            _keep_seconds(request.rule),
            self._runtime.clock.microseconds(),
            caller.actor,
        )
        await self._runtime.ask(r.Tidy(provenance=caller, work=lambda transaction, _: retention.put(transaction, rule)))
        return pb.PutRetentionRuleResponse(rule=_message(rule))

    async def ListRetentionRules(self, request: pb.ListRetentionRulesRequest, context: Any) -> Any:
        """Return all of a namespace."""
        namespace = namespace_of(request.namespace)
        found = await self._runtime.read(lambda connection, _: retention.rules(connection, namespace))
        return pb.ListRetentionRulesResponse(rules=map(_message, found))

    async def DeleteRetentionRule(self, request: pb.DeleteRetentionRuleRequest, context: Any) -> Any:
        """Remove one."""
        namespace, workflow = namespace_of(request.namespace), convert.name_of("workflow", request.workflow)
        caller = provenance(context, "DeleteRetentionRule", "")

        def work(transaction: Any, _: Any) -> None:
            retention.delete_rule(transaction, namespace, workflow)

        await self._runtime.ask(r.Tidy(provenance=caller, work=work))
        return pb.DeleteRetentionRuleResponse()


def _keep_seconds(rule: retention_pb2.RetentionRule) -> int | None:
    """Return how long to keep, None for ever.

    Raises:
        FieldInvalid: that is too short, too long, or no whole number of seconds.
    """
    if not rule.HasField("keep"):
        return None
    seconds = rule.keep.seconds
    if rule.keep.nanos or not _LEAST_SECONDS <= seconds <= _MOST_SECONDS:
        expected = f"{_LEAST_SECONDS} to {_MOST_SECONDS} whole seconds"
        problem = f"it is {seconds}.{rule.keep.nanos:09d} s"
        raise FieldInvalid(name="keep", expected=expected, problem=problem, field="rule.keep")
    return seconds


def _message(rule: Rule) -> retention_pb2.RetentionRule:
    message = retention_pb2.RetentionRule(
        namespace=rule.namespace,
        workflow=rule.workflow,
        updated_at=convert.timestamp(rule.updated_at),
        updated_by=convert.actor(rule.actor),
    )
    if rule.keep_seconds is not None:
        message.keep.CopyFrom(convert.duration(rule.keep_seconds * 1_000_000))
    return message
