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


def test_room_of_one_worker_is_looked_for_at_that_one() -> None:
    """Of 2,000 that connected at once each looked at all: others waited for half a minute."""
    desk = _desk(a=1, b=2, c=0)
    assert [session.id for session, _ in desk.wants("b")] == ["b"]
    assert desk.wants("c") == desk.wants("nobody") == []
    assert [session.id for session, _ in desk.wants()] == ["a", "b"]


def test_own_limit_of_an_action_bounds_it() -> None:
    """A worker that does one report at a time is given one, whatever its credits."""
    desk = Desk()
    desk.open(Session("a", "worker", "default", {"report": 1}, room=100))
    desk.note_drained([("default", "report", "")])

    assert desk.take(("default", "report", "")) is not None
    assert desk.take(("default", "report", "")) is None
    desk.settled("a", "report")
    assert desk.take(("default", "report", "")) is not None


def test_worker_that_is_held_is_given_nothing_and_keeps_its_room() -> None:
    """Credits that come meanwhile count; one that drains by its own word is not called back."""
    desk = _desk(a=1)
    desk.note_drained([("default", "work", "")])

    desk.hold("a", is_held=True)
    desk.grant("a", 1)
    assert (_taken(desk), desk.is_leaving("a")) == ("", True)
    desk.hold("a", is_held=False)
    desk.note_drained([("default", "work", "")])
    assert [_taken(desk), _taken(desk), _taken(desk)] == ["a", "a", ""]

    desk.drain("a")
    desk.hold("a", is_held=False)
    desk.grant("a", 1)
    assert (_taken(desk), desk.wants()) == ("", [])


def test_action_with_a_limit_is_never_handed_out_past_its_queue() -> None:
    """Found empty, its queue rests until something comes or a place is free; without the limit all is as before."""
    desk = _desk(a=5)
    queue = ("default", "work", "")
    desk.note_drained([queue])
    desk.set_limited(frozenset({("default", "work")}))

    assert _taken(desk) == ""
    assert [wanted for _, wanted in desk.wants()] == [[("work", "", 5)]]
    desk.note_drained([queue])
    assert (_taken(desk), desk.wants()) == ("", [])
    desk.note_queued([queue])
    assert len(desk.wants()) == 1
    desk.note_limited([queue], desk.woken)
    assert desk.wants() == []
    desk.set_limited(frozenset())
    assert len(desk.wants()) == 1
    desk.note_drained([queue])
    assert _taken(desk) == "a"


def test_queue_does_not_rest_if_a_place_became_free_meanwhile() -> None:
    """What a batch saw may be old when the batch is over."""
    desk = _desk(a=5)
    desk.set_limited(frozenset({("default", "work")}))
    before = desk.woken

    desk.note_queued([("default", "work", "")])
    desk.note_limited([("default", "work", "")], before)

    assert len(desk.wants()) == 1


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
