"""The scenario runner: a behaviour is a YAML file, and this is what runs it.

    name: a join waits for all its branches
    source: docs/language.md#join
    workflow: |                      # one text of definitions, or a list of texts
      version: '2.0'
      ...
    calendars: {office: {time_zone: Europe/Berlin}}   # if it is about business time; see `runtime/calendars.py`
    when:                            # steps; each may add `refused: REASON`, which also asserts that nothing changed
      - start: {workflow: wf, input: {a: 1}, env: {}, params: {}, by: carol}
      - take: {task: t1}             # a worker leases the action and works on it
      - complete: {task: t1, item: 0, result: 5}
      - fail: {task: t1, message: broken, details: {}}
      - cancel-action: {task: t1}
      - advance: 5s                  # s, m, h, d
      - pause: {}                    # resume: {env: {}}, cancel: {message: x}, stop: {state: FAILED, message: x};
                                     # `of: workflow name` addresses a sub-workflow
      - rerun: {task: t1, reset: false, env: {}}
      - skip: {task: t1}
      - claim: {task: t1, by: alice, groups: [managers]}   # a person; item: 0, stands_for: [bob]
      - release: {task: t1, by: alice, note: x}            # manages: true, as one who may manage human tasks
      - assign: {task: t1, by: chief, to: alice, manages: true}
      - delegate: {task: t1, by: alice, to: bob}
      - draft: {task: t1, by: alice, data: {a: 1}}
      - comment: {task: t1, by: alice, text: why so much?}
      - attach: {task: t1, by: alice, name: a.txt, content: x, content_type: text/plain}  # uri: where it is instead
      - withdraw: {task: t1, by: alice, attachment: 1, note: x}
      - submit: {task: t1, by: alice, outcome: approve, reason: x, data: {}, etag: stale}
      - absent: {user: bob, substitute: alice, for: 5d}    # from now on
      - expect: {tasks: {t1: RUNNING}}   # anything that `then` can say, in the middle
    then:
      state: SUCCEEDED
      message: text
      output: {a: 1.50}              # digits count: 1.50 is not 1.5
      tasks: {t1: SUCCEEDED, t2: null}   # the latest of that name; sub-workflows' tasks too; null: never reached
      attempts: {t1: 2}
      inputs: {t1: {a: 1}}           # what its action was last given; with-items: a list
      results: {t1: [1, 2]}
      globals: {g: 1}
      executions: {child: CANCELLED} # the latest sub-workflow execution of that workflow
      people: {t1: {assignee: alice}}  # its latest human task; see `people.py`
      notifications: [{kind: offered, to: alice}]  # all that were written, in order, fields as given; see `people.py`
      order: [t1, t2]                # tasks as they started, others between them
      events: [ExecutionStarted, {type: TaskStarted, task: t1, attempt: 1}]   # all of them, in order, fields as given
      events_include: [TaskStarted]  # these, in this order, others between them
      refused: REASON                # of the last step

What may be written where stands in `grammar.py`.

After every step three laws are checked over the execution and all its sub-workflows: replaying the log gives the rows,
every state change is in `engine/transitions.py`, and what is open has a next cause. Where it is played over the API
another law holds: what is read is what the events say.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from tradewind_server.clock import from_microseconds
from tradewind_server.engine import commands as c
from tradewind_server.engine import events as e
from tradewind_server.engine.codec import decode_event
from tradewind_server.engine.scopes import task_result
from tradewind_server.engine.state import Action, ActionState, Execution, ExecutionState, Task
from tradewind_server.errors import Refusal
from tradewind_server.lang import Source
from tradewind_server.store.records import StoredEvent
from tradewind_server.testing import people
from tradewind_server.testing.comparison import (
    Different,
    differences,
    event_differences,
    notification_differences,
    order_differences,
)
from tradewind_server.testing.grammar import Fields, read_scenario, time_of
from tradewind_server.testing.mocks import failure
from tradewind_server.testing.place import Place

#: Checks what must hold for an execution at rest, whatever happened to it.
Check = Callable[[str], None]
P = TypeVar("P", bound=Place)


def read(path: Path) -> Fields:
    """Return the scenario in the file *path*."""
    scenario, problems = read_scenario(Source(str(path), path.read_text(encoding="utf-8")))
    assert not problems, "\n".join(f"{p.file}:{p.line}:{p.column}: {p.message}" for p in problems)
    return scenario


def run(scenario: Fields, place: Place, check: Check) -> None:
    """Run *scenario* in a fresh *place*, where any action may be called, with *check* after each step.

    Raises:
        AssertionError: it does not come out as the scenario says, or a law is broken.
    """
    stage = Stage(place, check)
    text = scenario["workflow"]
    place.deploy(*([text] if isinstance(text, str) else text))
    expected = scenario["then"]
    steps = [dict(step) for step in scenario["when"]]
    if "refused" in expected:
        steps[-1]["refused"] = expected["refused"]
    for step in steps:
        stage.step(step)
    stage.expect({key: value for key, value in expected.items() if key != "refused"})


class Stage(Generic[P]):
    """One scenario being played: the root execution, and the leases that workers hold.

    Args:
        world: where it is played.
        check: checks laws of an execution, after each step. They tell of faults of the server, not of a workflow.
    """

    def __init__(self, world: P, check: Check | None = None) -> None:
        self.world = world
        self.root = ""
        self._check = check
        #: States of the tree as they were at that moment of the world.
        self._seen: tuple[int, list[Execution]] = (-1, [])

    def step(self, step: Fields) -> None:
        """Carry out one step and check the laws."""
        refused = step.pop("refused", None)
        [(kind, how)] = step.items()
        with self._refusal(refused) if refused else contextlib.nullcontext():
            _STEPS[kind](self, how if how is not None else {})
        if self._check is not None:
            for id_ in self.tree():
                self._check(id_)

    @contextlib.contextmanager
    def _refusal(self, reason: str) -> Iterator[None]:
        before = self._logs()
        got = ""
        try:
            yield
        except Refusal as refusal:
            got = refusal.reason
        assert got == reason, f"expected the refusal {reason}, got {got or 'none: the step was carried out'}"
        assert self._logs() == before, "a refused command must change nothing"

    def _logs(self) -> dict[str, list[StoredEvent]]:
        return {id_: self.world.events(id_) for id_ in self.tree()}

    def tree(self) -> list[str]:
        """Return the execution and its sub-workflows, parents first, oldest first."""
        return [state.id for state in self.states()]

    def states(self) -> list[Execution]:
        """Return the states of the tree, in the same order."""
        moment = self.world.moment
        if self._seen[0] != moment:
            found = [self.world.state(self.root)] if self.root and self.world.exists(self.root) else []
            for state in found:
                children = [action.child for action in state.actions.values() if action.child]
                found += [self.world.state(child) for child in children if self.world.exists(child)]
            self._seen = (moment, found)
        return self._seen[1]

    # --- steps -----------------------------------------------------------------------------------

    def start(self, how: Fields) -> None:
        """Start the execution that the scenario is about."""
        env, params = how.get("env") or {}, how.get("params") or {}
        self.root = self.world.start(
            how["workflow"], how.get("input") or {}, env=env, params=params, by=how.get("by", "")
        )

    def take(self, how: Fields) -> None:
        """Let a worker lease an action."""
        execution_id, action = self._action(how)
        self.world.lease(action.name)
        assert (execution_id, action.id) in self.world.held, f"the action of {how['task']} could not be leased"

    def complete(self, how: Fields) -> None:
        """Answer an action with a result."""
        self._answer(how, lambda id_: c.CompleteAction(self.world.clock.now(), id_, how.get("result")))

    def fail(self, how: Fields) -> None:
        """Answer an action with a failure."""
        self._answer(how, lambda id_: c.FailAction(self.world.clock.now(), id_, failure(how)))

    def cancel_action(self, how: Fields) -> None:
        """Answer that an action was cancelled."""
        self._answer(how, lambda id_: c.CancelAction(self.world.clock.now(), id_, how.get("message", "")))

    def _answer(self, how: Fields, command: Callable[[int], c.Answer]) -> None:
        execution_id, action = self._action(how)
        if action.child:
            self.world.end_stand_in(action.child, command(action.id))
            return
        if not action.asynchronous and (execution_id, action.id) not in self.world.held:
            self.take(how)
        self.world.answer(execution_id, command(action.id))

    def _action(self, how: Fields) -> tuple[str, Action]:
        """Return the oldest open action of the task, or else the newest that has ended: its answer comes late."""
        ended: tuple[str, Action] | None = None
        for task, state in self._tasks(how["task"]):
            for action in state.actions.values():
                if action.task != task.id or how.get("item", action.index) != action.index:
                    continue
                if action.child and action.child not in self.world.stand_ins:
                    continue
                if action.state is ActionState.OPEN:
                    return state.id, action
                ended = (state.id, action)
        assert ended is not None, f"task {how['task']} has no action"
        return ended

    def _tasks(self, name: str) -> list[tuple[Task, Execution]]:
        return [(task, state) for state in self.states() for task in state.tasks.values() if task.name == name]

    def advance(self, how: str) -> None:
        """Let time pass."""
        self.world.advance(time_of(how))

    def pause(self, how: Fields) -> None:
        """Pause an execution."""
        self._command(how, c.PauseExecution(self.world.clock.now(), how.get("message", "")))

    def resume(self, how: Fields) -> None:
        """Resume an execution."""
        self._command(how, c.ResumeExecution(self.world.clock.now(), how.get("env")))

    def cancel(self, how: Fields) -> None:
        """Cancel an execution."""
        self.stop({"state": "CANCELLED", **how})

    def stop(self, how: Fields) -> None:
        """End an execution."""
        state = ExecutionState(how["state"])
        self._command(how, c.StopExecution(self.world.clock.now(), state, how.get("message", "")))

    def _command(self, how: Fields, command: c.Command) -> None:
        id_ = self._execution(how["of"]).id if "of" in how else self.root
        self.world.command(id_, command)

    def _execution(self, workflow: str) -> Execution:
        found = [state for state in self.states() if state.workflow == workflow]
        assert found, f"there is no execution of {workflow}"
        return found[-1]

    def rerun(self, how: Fields) -> None:
        """Run a task again."""
        command = c.RerunTask(self.world.clock.now(), 0, how.get("reset", True), how.get("env"))
        self.world.command(self._owner(how["task"]), command, task_name=how["task"])

    def skip(self, how: Fields) -> None:
        """Skip a failed task."""
        self.world.command(self._owner(how["task"]), c.SkipTask(self.world.clock.now(), 0), task_name=how["task"])

    def absent(self, how: Fields) -> None:
        """Let somebody stand in for a user from now on."""
        self.world.add_absence(how["user"], how["substitute"], time_of(how["for"]))

    def person(self, kind: str, how: Fields) -> None:
        """Let a person do something about a human task."""
        execution_id, action = self._action(how)
        human_task = self.world.state(execution_id).human_tasks.get(action.id)
        assert human_task is not None, f"task {how['task']} asks nobody"
        command = people.command_of(kind, how, self.world.clock.now(), human_task)
        self.world.command(execution_id, command, by=how["by"])

    def _owner(self, name: str) -> str:
        found = self._tasks(name)
        return found[-1][1].id if found else self.root

    # --- what is expected ------------------------------------------------------------------------

    def expect(self, expected: Fields) -> None:
        """Compare what is with what is *expected*.

        Raises:
            Different: all differences at once.
        """
        found: list[str] = []
        for key, value in expected.items():
            actual = self._actual(key, value)
            if key in ("events", "events_include"):
                found += event_differences(value, actual, complete=key == "events")
            elif key == "notifications":
                found += notification_differences(value, actual)
            elif key == "order":
                found += order_differences(value, actual)
            else:
                found += differences(key, value, actual)
        if found:
            raise Different(found)

    def _actual(self, key: str, expected: Any) -> Any:
        assert self.states(), "there is no execution: its start was refused"
        root = self.states()[0]
        found: dict[str, Callable[[], Any]] = {
            "state": lambda: str(root.state),
            "message": lambda: root.message,
            "output": lambda: root.output,
            "globals": lambda: {name: root.variables.values.get(name) for name in expected},
            "executions": lambda: {name: str(self._execution(name).state) for name in expected},
            "tasks": lambda: {name: self._latest(name, lambda t, _: str(t.state)) for name in expected},
            "attempts": lambda: {name: self._latest(name, lambda t, _: t.attempt) for name in expected},
            "inputs": lambda: {name: self._latest(name, self._input) for name in expected},
            "people": lambda: {name: self._latest(name, partial(_human, wanted)) for name, wanted in expected.items()},
            "results": lambda: {name: self._latest(name, lambda t, s: task_result(s, t)) for name in expected},
            "notifications": lambda: [each for id_ in self.tree() for each in self._notified(id_)],
            "order": lambda: _started(self.world.events(self.root)),
            "events": lambda: [_told(stored) for stored in self.world.events(self.root)],
        }
        found["events_include"] = found["events"]
        return found[key]()

    def _notified(self, id_: str) -> list[Fields]:
        found = sorted(self.world.notifications(id_), key=lambda pair: people.place_of(pair[0]))
        return [people.notified(row, event) for row, event in found]

    def _latest(self, name: str, look: Callable[[Task, Execution], Any]) -> Any:
        found = self._tasks(name)
        return look(*found[-1]) if found else None

    def _input(self, task: Task, state: Execution) -> Any:
        """Return what the actions of the task's current attempt were given, in the order of its items."""
        found: dict[int, Any] = {}
        for stored in self.world.events(state.id):
            if stored.task_id == task.id and stored.type == "ActionScheduled":
                event = decode_event(stored.type, stored.type_version, stored.body)
                assert isinstance(event, e.ActionScheduled)
                found[event.index] = event.input
        inputs = [found[index] for index in sorted(found)]
        return inputs if task.items is not None else (inputs[-1] if inputs else None)


def _human(expected: Fields | None, task: Task, state: Execution) -> Fields | None:
    """Return of the latest human task of *task* what is *expected*; where none is, whose it is."""
    found = [human_task for human_task in state.human_tasks.values() if human_task.task == task.id]
    fields = ("state", "users", "groups") if expected is None else expected
    return people.told(found[-1], fields) if found else None


def _started(log: list[StoredEvent]) -> list[str]:
    """Return the names of tasks in the order in which their first attempts began."""
    first: dict[int, str] = {}
    for stored in log:
        if stored.type == "TaskStarted":
            first.setdefault(stored.task_id, stored.task)
    return list(first.values())


_STEPS: dict[str, Callable[[Stage[Any], Any], None]] = {
    "start": Stage.start,
    "take": Stage.take,
    "complete": Stage.complete,
    "fail": Stage.fail,
    "cancel-action": Stage.cancel_action,
    "advance": Stage.advance,
    "pause": Stage.pause,
    "resume": Stage.resume,
    "cancel": Stage.cancel,
    "stop": Stage.stop,
    "rerun": Stage.rerun,
    "skip": Stage.skip,
    "absent": Stage.absent,
    **{kind: partial(lambda kind, stage, how: stage.person(kind, how), kind) for kind in people.STEPS},
    "expect": Stage.expect,
}


def _told(stored: StoredEvent) -> Fields:
    """Return an event as a scenario speaks of it: its task by name, a due moment in seconds from the event."""
    event: e.Event = decode_event(stored.type, stored.type_version, stored.body)
    fields = {name: getattr(event, name) for name in event.__struct_fields__}
    if isinstance(event, e.TimerSet):
        fields["due"] = int((event.due - from_microseconds(stored.at)).total_seconds())
    return {**fields, "type": stored.type, **({"task": stored.task} if stored.task else {})}
