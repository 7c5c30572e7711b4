"""An execution as people see it: a tree of tasks and child executions, and a bar of how far it is."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from tradewind import Client, values
from tradewind.models import Action, Event, Execution, Progress, Task, Wait
from tradewind_server.cli import records
from tradewind_server.cli.output import COLOURS, state_text

_SIGNS = {"SUCCEEDED": "✓", "SKIPPED": "↷", "FAILED": "✗", "CANCELLED": "⊘", "RUNNING": "●", "PAUSED": "‖"}

#: Child executions that are shown of one task, and levels of them.
_CHILDREN, _LEVELS = 20, 5
#: Open actions that are looked at of one execution.
_ACTIONS = 100
_TEXT_LENGTH = 200


@dataclass(frozen=True, slots=True)
class View:
    """What is known of an execution and of those below it."""

    execution: Execution
    tasks: tuple[Task, ...]
    waits: tuple[Wait, ...]
    children: dict[str, View] = field(default_factory=dict)
    #: Only of the one that was asked for.
    progress: Progress | None = None
    #: Those that are open.
    actions: Sequence[Action] = ()

    def record(self) -> records.Record:
        """Return it as JSON."""
        tasks = []
        for task in self.tasks:
            of_task = records.task(task)
            below = [self.children[id_].record() for id_ in task.child_execution_ids if id_ in self.children]
            tasks.append({**of_task, "children": below} if below else of_task)
        waiting = [records.wait(item) for item in self.waits]
        whole: records.Record = {**records.execution(self.execution), "waiting_for": waiting, "tasks": tasks}
        if self.actions:
            whole["actions"] = [records.action(item) for item in self.actions]
        return {**whole, "progress": records.progress(self.progress)} if self.progress else whole

    @property
    def has_open_children(self) -> bool:
        """Whether a child execution goes on, whose events its parent's watch does not tell."""
        return any(not view.execution.is_final for view in self.children.values())


def gather(client: Client, execution_id: str, min_revision: int = 0, level: int = 0) -> View:
    """Read an execution, not older than *min_revision*, and the first of those below it."""
    execution = client.get(execution_id, min_revision=min_revision)
    tasks = tuple(client.tasks(execution_id, min_revision=execution.revision))
    waits = () if execution.is_final else tuple(client.explain(execution_id))
    children = {}
    for task in tasks:
        for child in task.child_execution_ids[:_CHILDREN] if level < _LEVELS else ():
            children[child] = gather(client, child, level=level + 1)
    open_ = () if execution.is_final else client.actions(execution_id, "state = OPEN")
    actions = tuple(itertools.islice(open_, _ACTIONS))
    return View(execution, tasks, waits, children, None if level else client.progress(execution_id), actions)


def execution_picture(view: View, now: datetime | None = None) -> RenderableType:
    """Return the tree, with the output or the reason below it."""
    execution = view.execution
    parts: list[RenderableType] = [_tree(view, now or execution.updated_at, says_message=execution.failure is None)]
    general = [wait for wait in view.waits if not wait.task]
    parts += [Text(f"waits: {wait.detail}", "yellow") for wait in general]
    if execution.failure:
        parts.append(Text(f"failed: {execution.failure.message}", "red"))
    if execution.output is not None and not _is_failure(execution):
        parts.append(Text(f"output: {_short(execution.output)}"))
    return Group(*parts)


def _is_failure(execution: Execution) -> bool:
    """Tell whether the output is what a failed workflow puts out that has none of its own: why it failed."""
    return execution.failure is not None and execution.output == {"result": execution.failure.message}


def _tree(view: View, now: datetime, *, says_message: bool = True) -> Tree:
    execution = view.execution
    key = f" {execution.business_key}" if execution.business_key else ""
    title = Text.assemble(
        (execution.workflow, "bold"),
        key,
        "  ",
        state_text(execution.state),
        f"  {_duration(execution.created_at, execution.finished_at or now)}  ",
        (execution.id, "dim"),
    )
    if execution.state_message and says_message:
        title.append(f"  {execution.state_message}", "yellow")
    tree = Tree(title, guide_style="dim")
    for task in view.tasks:
        waits = [] if task.finished_at else [wait for wait in view.waits if wait.task == task.name]
        text = _task_text(task, waits, now)
        for action in view.actions:
            if action.proto.task_id == task.id:
                text.append(_said(action))
        branch = tree.add(text)
        for child in task.child_execution_ids:
            if child in view.children:
                branch.add(_tree(view.children[child], now))
    return tree


def _task_text(task: Task, waits: Iterable[Wait], now: datetime) -> Text:
    colour = COLOURS.get(task.state, "")
    text = Text.assemble((f"{_SIGNS.get(task.state, '○')} {task.name}", colour), "  ", state_text(task.state))
    if task.started_at:
        text.append(f"  {_duration(task.started_at, task.finished_at or now)}")
    if task.attempt > 1:
        text.append(f"  attempt {task.attempt}", "yellow")
    if task.proto.HasField("items_total"):
        text.append(f"  {task.proto.items_done}/{task.proto.items_total} items")
    text.append(f"  {task.callee}", "dim")
    for wait in waits:
        text.append(f"\n  waits: {wait.detail}", "yellow")
    if task.failure:
        text.append(f"\n  {task.failure.code or task.failure.kind}: {task.failure.message}", "red")
    elif task.state_message:
        text.append(f"\n  {task.state_message}", "yellow")
    if isinstance(task.published, dict) and task.published:
        text.append(f"\n  {_short(task.published)}", "dim")
    return text


def _said(action: Action) -> Text:
    """Return what the worker of an open action stored and wrote last; what it says of its progress is a wait's."""
    text = Text()
    who = action.id if action.item_index is None else f"{action.id} (item {action.item_index})"
    if action.checkpoint is not None:
        text.append(f"\n  {who} checkpoint: {_short(action.checkpoint)}", "dim")
    if line := action.last_log:
        text.append(f"\n  {who} log: {line.at:%H:%M:%S} {line.level} {_one_line(line.message)}", "dim")
    return text


def _duration(start: datetime, end: datetime) -> str:
    return _span(max(0.0, (end - start).total_seconds()))


def _span(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"


def _one_line(text: str) -> str:
    return " ".join(text.split())[:_TEXT_LENGTH]


def _short(value: values.Value) -> str:
    text = values.encode(value).decode()
    return text if len(text) <= _TEXT_LENGTH else f"{text[:_TEXT_LENGTH]}…"


def progress_picture(view: View) -> RenderableType:
    """Return a bar of how far it is: a guess where guards decide, as what is not taken counts as left until the end."""
    progress = view.progress
    if progress is None:
        return Text()
    open_ = progress.running + progress.waiting
    done = progress.done + progress.skipped
    total = max(1, done + open_ + (progress.left or 0))
    bar = ProgressBar(total=total, completed=done, width=40)
    grid = Table.grid(padding=(0, 1))
    grid.add_row(bar, f"{100 * done // total} %", progress_text(progress))
    return grid


def progress_text(progress: Progress) -> str:
    """Return how far it is and how long it may take, in words."""
    parts = [f"{progress.done} done", f"{progress.running} running", f"{progress.waiting} waiting"]
    parts += [f"{progress.skipped} skipped"] if progress.skipped else []
    if progress.left is not None:
        more = f" (at most {progress.left_at_most})" if progress.left_at_most != progress.left else ""
        parts.append(f"{progress.left} left{more}{', in a loop' if progress.open_ended else ''}")
    parts += [f"{progress.items_done}/{progress.items_total} items"] if progress.items_total else []
    text = ", ".join(parts)
    expected = progress.expected
    if expected is None:
        return text
    usual, most = (_span(took.total_seconds()) for took in (expected.p50, expected.p90))
    until = f", until {expected.finish_p50:%H:%M:%S} UTC" if expected.finish_p50 else ""
    return f"{text}; usually {usual} in all, 9 in 10 within {most}{until}"


def event_line(event: Event) -> Text:
    """Return one line about an event."""
    state = event.task_state or event.action_state or event.execution_state
    subject = event.task + (f" {event.action_id}" if event.action_id else "")
    return Text.assemble(
        (f"{event.at:%H:%M:%S}.{event.at.microsecond // 1000:03d} ", "dim"),
        f"{event.revision:>4} {event.type:<22} {subject:<28} ",
        state_text(f"{state:<10}"),
        (f" by {event.actor}", "dim"),
    )
