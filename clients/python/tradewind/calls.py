"""Every call that the client can make, as a value: which method, which request, how to read the answer.

No I/O lives here. `Client` and `aio.Client` send the same calls in their own ways.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Generic, TypedDict, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from tradewind import errors, values
from tradewind.models import (
    Action,
    Definition,
    Deployment,
    Environment,
    Event,
    Execution,
    Groups,
    LogLine,
    Page,
    Problem,
    Progress,
    RetentionRule,
    ServerInfo,
    Task,
    Wait,
)
from tradewind.v1 import (
    action_callback_pb2,
    definition_pb2,
    definition_service_pb2,
    environment_pb2,
    environment_service_pb2,
    execution_pb2,
    execution_service_pb2,
    failure_pb2,
    payload_pb2,
    retention_pb2,
    retention_service_pb2,
    server_service_pb2,
)

T = TypeVar("T")

FULL, BASIC = execution_pb2.EXECUTION_VIEW_FULL, execution_pb2.EXECUTION_VIEW_BASIC

#: Seconds that a call may take in all, its repeats included.
DEADLINE = 30.0


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One call to make. It may be repeated as it is: mutations carry their request id."""

    #: Name of the service, e.g. "ExecutionService".
    service: str
    #: Name of the method.
    method: str
    request: Message
    #: Turns the response into what the caller gets.
    read: Callable[[Any], T]
    #: Seconds that it may take in all.
    deadline: float = DEADLINE


class StartOptions(TypedDict, total=False):
    """What can be said when a workflow is started, beside its name and input."""

    #: Workflow namespace in which its name is looked up first.
    workflow_namespace: str
    #: Version of the definition; default is the current one.
    version: int
    #: Id of your own, unique in the namespace for ever: a repeated start gets the same execution.
    external_id: str
    #: What it is about; held by at most one open execution of the workflow.
    business_key: str
    #: If the business key is held: get that execution instead of an error.
    use_existing: bool
    #: The environment, or the name of a stored one.
    env: Mapping[str, values.Value] | str
    #: Further start parameters of the language.
    params: Mapping[str, values.Value]
    tags: Sequence[str]
    description: str
    #: Default is a new one; give your own to repeat a start after a restart of your program.
    request_id: str


#: A definition to deploy: a path, or a name and its text.
Source = Path | tuple[str, str | bytes]


def new_request_id() -> str:
    """Make the id that lets a request be repeated safely."""
    return str(uuid.uuid4())


def server_info() -> Call[ServerInfo]:
    """Ask what the server is."""

    def read(response: server_service_pb2.GetServerInfoResponse) -> ServerInfo:
        info = response.server_info
        limits = {limit.name: limit.value for limit in info.limits}
        return ServerInfo(
            info.version, tuple(info.api_versions), tuple(info.features), limits, info.database, info.server_id
        )

    return Call("ServerService", "GetServerInfo", server_service_pb2.GetServerInfoRequest(), read)


# --- definitions ---------------------------------------------------------------------------------


def check(namespace: str, sources: Iterable[Source], workflow_namespace: str) -> Call[list[Problem]]:
    """Check texts without storing them."""
    request = definition_service_pb2.ValidateDefinitionsRequest(
        namespace=namespace, workflow_namespace=workflow_namespace, files=_files(sources)
    )

    def read(response: definition_service_pb2.ValidateDefinitionsResponse) -> list[Problem]:
        return [Problem.read(problem) for problem in response.problems]

    return Call("DefinitionService", "ValidateDefinitions", request, read)


def deploy(namespace: str, sources: Iterable[Source], workflow_namespace: str) -> Call[Deployment]:
    """Store texts, all or none."""
    request = definition_service_pb2.DeployDefinitionsRequest(
        namespace=namespace,
        request_id=new_request_id(),
        workflow_namespace=workflow_namespace,
        files=_files(sources),
    )

    def read(response: definition_service_pb2.DeployDefinitionsResponse) -> Deployment:
        return Deployment(
            response.registry_revision,
            tuple(Definition.read(item.definition) for item in response.definitions),
            tuple(item.definition.name for item in response.definitions if item.created),
            tuple(Problem.read(problem) for problem in response.problems),
        )

    return Call("DefinitionService", "DeployDefinitions", request, read)


def _files(sources: Iterable[Source]) -> list[definition_pb2.DefinitionFile]:
    pairs = [(item.name, item.read_bytes()) if isinstance(item, Path) else item for item in sources]
    return [
        definition_pb2.DefinitionFile(name=name, content=text.encode() if isinstance(text, str) else text)
        for name, text in pairs
    ]


def definition(namespace: str, name: str, kind: str, version: int, workflow_namespace: str) -> Call[Definition]:
    """Get one version, with its text in `proto.source`."""
    request = definition_service_pb2.GetDefinitionRequest(
        namespace=namespace, workflow_namespace=workflow_namespace, name=name, kind=_kind(kind), version=version
    )

    def read(response: definition_service_pb2.GetDefinitionResponse) -> Definition:
        return Definition.read(response.definition)

    return Call("DefinitionService", "GetDefinition", request, read)


def definitions(namespace: str, filter_: str, all_versions: bool, size: int, token: str) -> Call[Page[Definition]]:
    """List definitions."""
    request = definition_service_pb2.ListDefinitionsRequest(
        namespace=namespace, filter=filter_, all_versions=all_versions, page_size=size, page_token=token
    )

    def read(response: definition_service_pb2.ListDefinitionsResponse) -> Page[Definition]:
        return Page([Definition.read(item) for item in response.definitions], response.next_page_token)

    return Call("DefinitionService", "ListDefinitions", request, read)


def delete_definition(namespace: str, name: str, kind: str, workflow_namespace: str) -> Call[int]:
    """Take a name out of the registry; the answer is the registry revision."""
    request = definition_service_pb2.DeleteDefinitionRequest(
        namespace=namespace,
        request_id=new_request_id(),
        workflow_namespace=workflow_namespace,
        name=name,
        kind=_kind(kind),
    )

    def read(response: definition_service_pb2.DeleteDefinitionResponse) -> int:
        return response.registry_revision

    return Call("DefinitionService", "DeleteDefinition", request, read)


# --- environments --------------------------------------------------------------------------------


def put_environment(
    namespace: str, name: str, variables: Mapping[str, values.Value], description: str, etag: str
) -> Call[Environment]:
    """Make or replace a stored environment."""
    environment = environment_pb2.Environment(
        name=name, description=description, variables=values.to_payload(variables)
    )
    request = environment_service_pb2.PutEnvironmentRequest(namespace=namespace, environment=environment, etag=etag)

    def read(response: environment_service_pb2.PutEnvironmentResponse) -> Environment:
        return Environment.read(response.environment)

    return Call("EnvironmentService", "PutEnvironment", request, read)


def environment(namespace: str, name: str) -> Call[Environment]:
    """Get a stored environment with its variables."""
    request = environment_service_pb2.GetEnvironmentRequest(namespace=namespace, name=name)

    def read(response: environment_service_pb2.GetEnvironmentResponse) -> Environment:
        return Environment.read(response.environment)

    return Call("EnvironmentService", "GetEnvironment", request, read)


def environments(namespace: str, size: int, token: str) -> Call[Page[Environment]]:
    """List stored environments."""
    request = environment_service_pb2.ListEnvironmentsRequest(namespace=namespace, page_size=size, page_token=token)

    def read(response: environment_service_pb2.ListEnvironmentsResponse) -> Page[Environment]:
        return Page([Environment.read(item) for item in response.environments], response.next_page_token)

    return Call("EnvironmentService", "ListEnvironments", request, read)


def delete_environment(namespace: str, name: str, etag: str) -> Call[None]:
    """Remove a stored environment; a repeat, whose first answer was lost, is no error."""
    request = environment_service_pb2.DeleteEnvironmentRequest(
        namespace=namespace, name=name, etag=etag, allow_missing=True
    )
    return Call("EnvironmentService", "DeleteEnvironment", request, lambda response: None)


# --- retention -----------------------------------------------------------------------------------


def put_retention(namespace: str, keep: timedelta | None, workflow: str) -> Call[RetentionRule]:
    """Say how long executions are kept."""
    rule = retention_pb2.RetentionRule(workflow=workflow)
    if keep is not None:
        rule.keep.FromTimedelta(keep)
    request = retention_service_pb2.PutRetentionRuleRequest(namespace=namespace, rule=rule)

    def read(response: retention_service_pb2.PutRetentionRuleResponse) -> RetentionRule:
        return RetentionRule.read(response.rule)

    return Call("RetentionService", "PutRetentionRule", request, read)


def retention_rules(namespace: str) -> Call[list[RetentionRule]]:
    """List the rules."""
    request = retention_service_pb2.ListRetentionRulesRequest(namespace=namespace)

    def read(response: retention_service_pb2.ListRetentionRulesResponse) -> list[RetentionRule]:
        return [RetentionRule.read(rule) for rule in response.rules]

    return Call("RetentionService", "ListRetentionRules", request, read)


def delete_retention(namespace: str, workflow: str) -> Call[None]:
    """Remove a rule."""
    request = retention_service_pb2.DeleteRetentionRuleRequest(namespace=namespace, workflow=workflow)
    return Call("RetentionService", "DeleteRetentionRule", request, lambda response: None)


def _kind(kind: str) -> definition_pb2.DefinitionKind.ValueType:
    return definition_pb2.DefinitionKind.Value(f"DEFINITION_KIND_{kind}")


# --- starting ------------------------------------------------------------------------------------


def start_request(
    namespace: str, workflow: str, input_: values.Value, options: StartOptions
) -> execution_service_pb2.StartExecutionRequest:
    """Build the request of one start; an id is made if *options* has none."""
    policy = execution_service_pb2.BusinessKeyPolicy
    request = execution_service_pb2.StartExecutionRequest(
        namespace=namespace,
        request_id=options.get("request_id") or new_request_id(),
        workflow=workflow,
        workflow_namespace=options.get("workflow_namespace", ""),
        definition_version=options.get("version", 0),
        external_id=options.get("external_id", ""),
        business_key=options.get("business_key", ""),
        business_key_policy=(
            policy.BUSINESS_KEY_POLICY_USE_EXISTING
            if options.get("use_existing")
            else policy.BUSINESS_KEY_POLICY_REJECT
        ),
        input=_payload(input_),
        params=_payload(options.get("params")),
        tags=options.get("tags", ()),
        description=options.get("description", ""),
    )
    env = options.get("env")
    if isinstance(env, str):
        request.env_name = env
    elif env is not None:
        request.env.CopyFrom(values.to_payload(env))
    return request


def start(namespace: str, workflow: str, input_: values.Value, options: StartOptions) -> Call[Execution]:
    """Start a workflow."""
    request = start_request(namespace, workflow, input_, options)

    def read(response: execution_service_pb2.StartExecutionResponse) -> Execution:
        return Execution.read(response.execution)

    return Call("ExecutionService", "StartExecution", request, read)


def start_many(
    namespace: str, starts: Iterable[tuple[str, values.Value, StartOptions]]
) -> Call[list[Execution | errors.TradewindError]]:
    """Start many workflows, each for itself."""
    requests = [start_request(namespace, workflow, input_, options) for workflow, input_, options in starts]
    request = execution_service_pb2.StartExecutionsRequest(namespace=namespace, requests=requests)

    def read(
        response: execution_service_pb2.StartExecutionsResponse,
    ) -> list[Execution | errors.TradewindError]:
        return [_started(result) for result in response.results]

    return Call("ExecutionService", "StartExecutions", request, read)


def _started(result: execution_service_pb2.StartResult) -> Execution | errors.TradewindError:
    if result.HasField("refusal"):
        refusal = result.refusal
        return errors.from_refusal(refusal.code, refusal.reason, refusal.message, refusal.metadata)
    return Execution.read(result.started.execution)


def start_and_wait(
    namespace: str, workflow: str, input_: values.Value, options: StartOptions, wait: float
) -> Call[Execution]:
    """Start a workflow and wait up to *wait* seconds, at most five minutes, for its end."""
    request = execution_service_pb2.StartAndWaitRequest(
        namespace=namespace,
        start=start_request(namespace, workflow, input_, options),
        timeout=_duration(wait),
    )

    def read(response: execution_service_pb2.StartAndWaitResponse) -> Execution:
        return Execution.read(response.execution)

    return Call("ExecutionService", "StartAndWait", request, read, DEADLINE + wait)


# --- reading -------------------------------------------------------------------------------------


def get(namespace: str, execution_id: str, min_revision: int) -> Call[Execution]:
    """Get one execution with its payloads."""
    request = execution_service_pb2.GetExecutionRequest(
        namespace=namespace, execution_id=execution_id, min_revision=min_revision
    )

    def read(response: execution_service_pb2.GetExecutionResponse) -> Execution:
        return Execution.read(response.execution)

    return Call("ExecutionService", "GetExecution", request, read)


def progress(namespace: str, execution_id: str) -> Call[Progress]:
    """Ask how far an execution is."""
    request = execution_service_pb2.GetExecutionRequest(
        namespace=namespace, execution_id=execution_id, view=BASIC, with_progress=True
    )

    def read(response: execution_service_pb2.GetExecutionResponse) -> Progress:
        return Progress.read(response.progress)

    return Call("ExecutionService", "GetExecution", request, read)


def executions(namespace: str, filter_: str, full: bool, size: int, token: str) -> Call[Page[Execution]]:
    """List executions, newest first."""
    request = execution_service_pb2.ListExecutionsRequest(
        namespace=namespace, filter=filter_, page_size=size, page_token=token, view=FULL if full else BASIC
    )

    def read(response: execution_service_pb2.ListExecutionsResponse) -> Page[Execution]:
        return Page([Execution.read(item) for item in response.executions], response.next_page_token)

    return Call("ExecutionService", "ListExecutions", request, read)


def count(namespace: str, filter_: str) -> Call[dict[str, int]]:
    """Count executions by state."""
    request = execution_service_pb2.CountExecutionsRequest(namespace=namespace, filter=filter_)

    def read(response: execution_service_pb2.CountExecutionsResponse) -> dict[str, int]:
        name = execution_pb2.ExecutionState.Name
        return {name(item.state).removeprefix("EXECUTION_STATE_"): item.count for item in response.counts}

    return Call("ExecutionService", "CountExecutions", request, read)


def count_by(namespace: str, by: Sequence[str], filter_: str) -> Call[Groups]:
    """Count executions by what they have in common."""
    request = execution_service_pb2.CountExecutionsRequest(namespace=namespace, filter=filter_, group_by=by)

    def read(response: execution_service_pb2.CountExecutionsResponse) -> Groups:
        groups = tuple((tuple(group.values), group.count) for group in response.groups)
        return Groups(response.total, groups, response.groups_cut)

    return Call("ExecutionService", "CountExecutions", request, read)


def tasks(
    namespace: str, execution_id: str, filter_: str, min_revision: int, size: int, token: str
) -> Call[Page[Task]]:
    """List the tasks of an execution."""
    request = execution_service_pb2.ListTasksRequest(
        namespace=namespace,
        execution_id=execution_id,
        filter=filter_,
        min_revision=min_revision,
        page_size=size,
        page_token=token,
    )

    def read(response: execution_service_pb2.ListTasksResponse) -> Page[Task]:
        return Page([Task.read(item) for item in response.tasks], response.next_page_token)

    return Call("ExecutionService", "ListTasks", request, read)


def action_logs(namespace: str, execution_id: str, action_id: str, size: int, token: str) -> Call[Page[LogLine]]:
    """List what workers wrote about actions."""
    request = execution_service_pb2.ListActionLogsRequest(
        namespace=namespace, execution_id=execution_id, action_id=action_id, page_size=size, page_token=token
    )

    def read(response: execution_service_pb2.ListActionLogsResponse) -> Page[LogLine]:
        return Page([LogLine.read(line) for line in response.lines], response.next_page_token)

    return Call("ExecutionService", "ListActionLogs", request, read)


def actions(namespace: str, execution_id: str, filter_: str, size: int, token: str) -> Call[Page[Action]]:
    """List actions, of one execution or of all."""
    request = execution_service_pb2.ListActionsRequest(
        namespace=namespace,
        execution_id=execution_id,
        filter=filter_,
        page_size=size,
        page_token=token,
        view=FULL,
    )

    def read(response: execution_service_pb2.ListActionsResponse) -> Page[Action]:
        return Page([Action.read(item) for item in response.actions], response.next_page_token)

    return Call("ExecutionService", "ListActions", request, read)


def history(namespace: str, execution_id: str, after_revision: int, size: int, token: str) -> Call[Page[Event]]:
    """List the events of an execution."""
    request = execution_service_pb2.ListEventsRequest(
        namespace=namespace, execution_id=execution_id, after_revision=after_revision, page_size=size, page_token=token
    )

    def read(response: execution_service_pb2.ListEventsResponse) -> Page[Event]:
        return Page([Event.read(item) for item in response.events], response.next_page_token)

    return Call("ExecutionService", "ListEvents", request, read)


def explain(namespace: str, execution_id: str) -> Call[list[Wait]]:
    """Ask what an execution waits for."""
    request = execution_service_pb2.ExplainExecutionRequest(namespace=namespace, execution_id=execution_id)

    def read(response: execution_service_pb2.ExplainExecutionResponse) -> list[Wait]:
        return [Wait.read(wait) for wait in response.waits]

    return Call("ExecutionService", "ExplainExecution", request, read)


# --- steering ------------------------------------------------------------------------------------


def _read_execution(response: Any) -> Execution:
    return Execution.read(response.execution)


def pause(namespace: str, execution_id: str, message: str) -> Call[Execution]:
    """Let an execution start nothing new."""
    request = execution_service_pb2.PauseExecutionRequest(
        namespace=namespace, request_id=new_request_id(), execution_id=execution_id, message=message
    )
    return Call("ExecutionService", "PauseExecution", request, _read_execution)


def resume(namespace: str, execution_id: str, env: Mapping[str, values.Value] | None) -> Call[Execution]:
    """Let a paused execution go on."""
    request = execution_service_pb2.ResumeExecutionRequest(
        namespace=namespace, request_id=new_request_id(), execution_id=execution_id, env=_payload(env)
    )
    return Call("ExecutionService", "ResumeExecution", request, _read_execution)


def cancel(namespace: str, execution_id: str, message: str) -> Call[Execution]:
    """End an execution early."""
    request = execution_service_pb2.CancelExecutionRequest(
        namespace=namespace, request_id=new_request_id(), execution_id=execution_id, message=message
    )
    return Call("ExecutionService", "CancelExecution", request, _read_execution)


def rerun(
    namespace: str,
    execution_id: str,
    task: str | None,
    task_id: str | None,
    reset: bool,
    env: Mapping[str, values.Value] | None,
) -> Call[Execution]:
    """Run a failed task again."""
    request = execution_service_pb2.RerunTaskRequest(
        namespace=namespace,
        request_id=new_request_id(),
        execution_id=execution_id,
        reset=reset,
        env=_payload(env),
    )
    _name_task(request, task, task_id)
    return Call("ExecutionService", "RerunTask", request, _read_execution)


def skip(namespace: str, execution_id: str, task: str | None, task_id: str | None) -> Call[Execution]:
    """Go on as if a failed task had succeeded."""
    request = execution_service_pb2.SkipTaskRequest(
        namespace=namespace,
        request_id=new_request_id(),
        execution_id=execution_id,
    )
    _name_task(request, task, task_id)
    return Call("ExecutionService", "SkipTask", request, _read_execution)


def _name_task(
    request: execution_service_pb2.RerunTaskRequest | execution_service_pb2.SkipTaskRequest,
    task: str | None,
    task_id: str | None,
) -> None:
    if task_id is not None and task is None:
        request.task_id = task_id
    elif task is not None and task_id is None:
        request.task_name = task
    else:
        raise TypeError("Expected either task (its name) or task_id.")


def complete_action(namespace: str, execution_id: str, action_id: str, result: values.Value) -> Call[int]:
    """Answer an asynchronous action; the answer is the execution's revision."""
    request = action_callback_pb2.CompleteActionRequest(
        namespace=namespace,
        action=action_callback_pb2.ActionReference(execution_id=execution_id, action_id=action_id),
        result=values.to_payload(result),
        request_id=new_request_id(),
    )

    def read(response: action_callback_pb2.CompleteActionResponse) -> int:
        return response.revision

    return Call("ActionCallback", "CompleteAction", request, read)


def fail_action(
    namespace: str, execution_id: str, action_id: str, code: str, message: str, retryable: bool, details: values.Value
) -> Call[int]:
    """Answer an asynchronous action with a failure; the answer is the execution's revision."""
    request = action_callback_pb2.FailActionRequest(
        namespace=namespace,
        action=action_callback_pb2.ActionReference(execution_id=execution_id, action_id=action_id),
        failure=failure_pb2.Failure(code=code, message=message, retryable=retryable, details=_payload(details)),
        request_id=new_request_id(),
    )

    def read(response: action_callback_pb2.FailActionResponse) -> int:
        return response.revision

    return Call("ActionCallback", "FailAction", request, read)


def _payload(value: values.Value) -> payload_pb2.Payload | None:
    return None if value is None else values.to_payload(value)


def timestamp(moment: datetime) -> Timestamp:
    """Return *moment* for the wire.

    Raises:
        ValueError: it has no time zone, and could be hours away from what is meant.
    """
    if moment.utcoffset() is None:
        raise ValueError(f"Expected a moment with a time zone, but got {moment.isoformat()} without one.")
    made = Timestamp()
    made.FromDatetime(moment)
    return made


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromTimedelta(timedelta(seconds=seconds))
    return duration
