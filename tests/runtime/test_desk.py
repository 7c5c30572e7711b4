"""The desk: who is given what, and what may not overtake."""

from __future__ import annotations

from tradewind_server.runtime.alarm import Alarm
from tradewind_server.runtime.desk import Desk, Session


def _desk(**rooms: int) -> Desk:
    desk = Desk()
    for name, room in rooms.items():
        desk.open(Session(name, f"worker-{name}", "default", {"work": 0}, room=room))
    return desk


def _taken(desk: Desk) -> str:
    session = desk.take(("default", "work", ""))
    return session.id if session else ""


def test_new_action_does_not_overtake_what_may_be_queued() -> None:
    """Only once its queue was found empty does an action go straight to a worker."""
    desk = _desk(a=5)

    assert _taken(desk) == ""
    desk.note_drained([("default", "work", "")])
    assert _taken(desk) == "a"
    desk.note_queued([("default", "work", "")])
    assert _taken(desk) == ""


def test_workers_are_served_in_turn_while_they_have_room() -> None:
    """A worker without room is passed over; without any room the action is queued."""
    desk = _desk(a=1, b=2)
    desk.note_drained([("default", "work", "")])

    assert sorted([_taken(desk), _taken(desk), _taken(desk)]) == ["a", "b", "b"]
    assert _taken(desk) == ""
    desk.grant("a", 1)
    assert _taken(desk) == "a"


def test_own_limit_of_an_action_bounds_it() -> None:
    """A worker that does one report at a time is given one, whatever its credits."""
    desk = Desk()
    desk.open(Session("a", "worker", "default", {"report": 1}, room=100))
    desk.note_drained([("default", "report", "")])

    assert desk.take(("default", "report", "")) is not None
    assert desk.take(("default", "report", "")) is None
    desk.settled("a", "report")
    assert desk.take(("default", "report", "")) is not None


def test_worker_of_another_namespace_is_given_nothing() -> None:
    """The namespace is never crossed."""
    desk = _desk(a=5)
    desk.note_drained([("default", "work", ""), ("other", "work", "")])

    assert desk.take(("other", "work", "")) is None


def test_room_of_an_offer_that_was_not_made_comes_back() -> None:
    """A batch that is rolled back gives its reservations back."""
    desk = _desk(a=1)
    desk.note_drained([("default", "work", "")])
    assert _taken(desk) == "a"

    desk.give_back("a", "work")

    assert _taken(desk) == "a"


def test_alarm_gives_due_timers_once_and_in_order() -> None:
    """A forgotten timer is not given; one that was added twice is given once."""
    alarm = Alarm()
    alarm.add(30, "x", 3)
    alarm.add(10, "x", 1)
    alarm.add(10, "x", 1)
    alarm.add(20, "x", 2)
    alarm.forget("x", 2)

    assert alarm.next_due() == 10
    assert alarm.pop_due(30, 10) == [("x", 1), ("x", 3)]
    assert alarm.next_due() is None
