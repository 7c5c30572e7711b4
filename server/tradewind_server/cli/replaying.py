"""The command replay: rebuild an execution from its history, and compare that with what the server says."""

from __future__ import annotations

from collections.abc import Iterator

import typer
from rich.text import Text

from tradewind import values
from tradewind.models import Action, Event, Execution, Task
from tradewind_server.cli.executions import Id
from tradewind_server.cli.session import NOT_DONE, Session, Unusable, on_server
from tradewind_server.engine import state as engine
from tradewind_server.engine.codec import decode_event
from tradewind_server.engine.evolve import replay as replay_log
from tradewind_server.lang.values import encode

#: How often an execution that moves while it is read is read again.
_TRIES = 5

#: What differs: where, what the history gives, what the server says.
Difference = tuple[str, values.Value, values.Value]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(replay)


@on_server
def replay(session: Session, execution_id: Id) -> None:
    """Rebuild an execution from its events and compare it with what the server reports; exit 1 if they differ."""
    with session.client() as client:
        for _ in range(_TRIES):
            execution = client.get(execution_id)
            tasks, actions = list(client.tasks(execution_id)), list(client.actions(execution_id))
            events = list(client.history(execution_id))
            if client.get(execution_id).revision == execution.revision == len(events):
                break
        else:
            raise Unusable("Expected the execution to stand still while it is read, but it moves. Pause it first.")
    differences = list(_differences(rebuild(events), execution, tasks, actions))
    _report(session, execution, len(events), differences)
    if differences:
        raise typer.Exit(NOT_DONE)


def rebuild(events: list[Event]) -> engine.Execution:
    """Return the state that *events* give.

    Raises:
        Unusable: they do not begin at revision 1.
    """
    try:
        return replay_log(
            (decode_event(item.type, item.proto.type_version, item.proto.body.data), item.at) for item in events
        )
    except ValueError as problem:
        raise Unusable(f"Expected a whole history, but {problem}.") from None


def _differences(
    state: engine.Execution, execution: Execution, tasks: list[Task], actions: list[Action]
) -> Iterator[Difference]:
    yield from _compare("revision", state.revision, execution.revision)
    yield from _compare("state", str(state.state), execution.state)
    yield from _compare("input", dict(state.input), execution.input)
    yield from _compare("env", dict(state.env), execution.env or {})
    yield from _compare("output", state.output, execution.output)
    yield from _compare("finished_at", str(state.finished_at), str(execution.finished_at))
    shown_tasks = {task.id: task for task in tasks}
    yield from _compare("tasks", sorted(f"t{id_}" for id_ in state.tasks), sorted(shown_tasks))
    for id_, rebuilt in state.tasks.items():
        if shown := shown_tasks.get(f"t{id_}"):
            yield from _task_differences(f"task t{id_} {rebuilt.name}", rebuilt, shown)
    shown_actions = {action.id: action for action in actions}
    yield from _compare("actions", sorted(f"a{id_}" for id_ in state.actions), sorted(shown_actions))
    for id_, call in state.actions.items():
        if reported := shown_actions.get(f"a{id_}"):
            yield from _action_differences(f"action a{id_} {call.name}", call, reported)


def _task_differences(where: str, rebuilt: engine.Task, shown: Task) -> Iterator[Difference]:
    yield from _compare(f"{where} name", rebuilt.name, shown.name)
    yield from _compare(f"{where} state", str(rebuilt.state), shown.state)
    yield from _compare(f"{where} attempt", rebuilt.attempt, shown.attempt)
    published = shown.published if isinstance(shown.published, dict) else {}
    yield from _compare(f"{where} published", sorted(rebuilt.published), sorted(published))


def _action_differences(where: str, rebuilt: engine.Action, shown: Action) -> Iterator[Difference]:
    # Whether an open one is queued or with a worker is the delivery's business, not the engine's.
    state = "OPEN" if shown.state in ("QUEUED", "RUNNING") else shown.state
    yield from _compare(f"{where} state", str(rebuilt.state), state)
    if rebuilt.state is engine.ActionState.SUCCEEDED:
        yield from _compare(f"{where} result", rebuilt.result, shown.result)


def _compare(where: str, rebuilt: values.Value, reported: values.Value) -> Iterator[Difference]:
    # Compared as written: 1.0 and 1.00 are equal numbers, but not the same digits.
    if encode(rebuilt) != encode(reported):
        yield where, rebuilt, reported


def _report(session: Session, execution: Execution, events: int, differences: list[Difference]) -> None:
    value = {
        "id": execution.id,
        "ok": not differences,
        "events": events,
        "differences": [
            {"where": where, "replayed": rebuilt, "reported": reported} for where, rebuilt, reported in differences
        ],
    }
    text = Text(f"OK: {events} events give {execution.state} at revision {execution.revision}", "green")
    if differences:
        lines = [
            f"{where}: the history gives {encode(rebuilt).decode()}, the server says {encode(reported).decode()}"
            for where, rebuilt, reported in differences
        ]
        text = Text("\n".join(["DIFFERENT", *lines]), "red")
    session.output.record(value, text)
