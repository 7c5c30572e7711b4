"""What a human task may say about time and about who is told, and what is reported of the rest."""

from __future__ import annotations

import pytest

from tradewind_server.lang import Source, check
from tradewind_server.lang.durations import Duration, Unit, duration_of, is_duration


def problems(keywords: str) -> list[tuple[str, str]]:
    """Check a human task with these keywords; return codes and paths."""
    text = f"version: '2.0'\nw:\n  tasks:\n    t:\n      human: {{title: T, users: a, {keywords}}}\n"
    return [(problem.code, problem.path) for problem in check([Source("f.yaml", text)]).problems]


@pytest.mark.parametrize(
    "keywords",
    [
        "due: 2 business days, calendar: berlin",
        "due: 1 business hour, remind: {before due: 30 business minutes}",
        "due: <% 5 %>, remind: {before due: <% 7 %>, every: 1d, count: <% 3 %>}",
        "due: 1d, remind: [{before due: 4h, channels: [sms, mail]}, {after: 5d, channels: sms}]",
        # only a calendar can compare these
        "due: 2d, remind: {before due: 9 business days}",
        "due: 1d, expire: {at: due}",
        "due: 1d, expire: {at: due, outcome: done}",
        "expire: {after: 3 business days}, remind: {after: 2 business days}",
        "expire: {after: 1d}, remind: {after: 2 business days}",
        "notify: true",
        "notify: {channels: mail}",
        "notify: {users: [a, b], groups: '<% [c] %>'}",
        "escalate: [{after: 3d, groups: b, channels: [sms]}, {after: 1 business day, users: c}]",
        "calendar: 'office-<% 1 %>'",
        "quorum: 1",
        "groups: [b], quorum: 100",
        "groups: [b], quorum: <% 2 %>",
        "quorum: all",
        "quorum: {veto: done}",
        "quorum: {votes: 1, veto: [done], sequential: true, otherwise: done}",
        "quorum: {votes: 1, sequential: false}, groups: [b]",
        # only when it runs it is known how many there are
        "quorum: 2, fallback: {users: [b, c]}",
        "escalate: {after: 1d, groups: b}, quorum: {sequential: true}",
    ],
)
def test_this_can_be_said(keywords: str) -> None:
    assert problems(keywords) == []


@pytest.mark.parametrize(
    ("keywords", "code", "path"),
    [
        ("due: 2 busy days", "wrong-type", "due"),
        ("due: two business days", "wrong-type", "due"),
        ("due: 1.5 business days", "wrong-type", "due"),
        ("calendar: [a]", "wrong-type", "calendar"),
        ("remind: {before due: 1h}", "missing-due", "remind"),
        ("due: 1h, remind: {before due: 1h}", "idle-reminder", "remind"),
        ("due: 1d, expire: {at: due}, remind: {after: 1d}", "idle-reminder", "remind"),
        ("expire: {after: 2 business days}, remind: {after: 2 business days}", "idle-reminder", "remind"),
        ("remind: {after: 1h, every: 1h}", "missing-keyword", "remind"),
        ("remind: {after: 1h, count: 3}", "missing-keyword", "remind"),
        ("due: 1d, remind: {after: 1h, before due: 1h}", "missing-keyword", "remind"),
        ("remind: {channels: sms}", "missing-keyword", "remind"),
        ("remind: {after: 1h, channels: SMS}", "wrong-type", "remind.channels"),
        ("remind: {after: 1h, channels: [sms, sms]}", "duplicate-item", "remind.channels[1]"),
        ("remind: soon", "wrong-type", "remind"),
        ("expire: {at: due}", "missing-due", "expire"),
        ("due: 1d, expire: {at: dawn}", "wrong-type", "expire.at"),
        ("due: 1d, expire: {at: due, after: 1h}", "missing-keyword", "expire"),
        ("expire: {after: 1d, outcome: reject}", "unknown-expiry-outcome", "expire.outcome"),
        ("quorum: 0", "wrong-type", "quorum"),
        ("groups: [b], quorum: 101", "wrong-type", "quorum"),
        ("quorum: most", "wrong-type", "quorum"),
        ("quorum: [2]", "wrong-type", "quorum"),
        ("quorum: {votes: true}", "wrong-type", "quorum.votes"),
        ("quorum: {sequential: 1}", "wrong-type", "quorum.sequential"),
        ("quorum: {vetoes: done}", "unknown-keyword", "quorum.vetoes"),
        ("quorum: 2", "quorum-too-large", "quorum"),
        ("quorum: {votes: 2, sequential: true}", "quorum-too-large", "quorum"),
        ("quorum: {veto: reject}", "unknown-quorum-outcome", "quorum"),
        ("quorum: {otherwise: reject}", "unknown-quorum-outcome", "quorum"),
        ("groups: [b], quorum: {votes: 2, sequential: true}", "quorum-names", "quorum"),
        ("groups: [b], quorum: all", "quorum-names", "quorum"),
        ("fallback: {groups: b}, quorum: all", "quorum-names", "quorum"),
        ("groups: {action: who.is}, quorum: {sequential: true}", "quorum-names", "quorum"),
        ("attachments: 2", "wrong-type", "attachments"),
        ("attachments: {minimum: -1}", "wrong-type", "attachments.minimum"),
        ("attachments: {maximum: many}", "wrong-type", "attachments.maximum"),
        ("attachments: {minimum: 2, maximum: 1}", "wrong-type", "attachments.maximum"),
        ("attachments: {content_types: pdf}", "wrong-type", "attachments.content_types"),
        ("attachments: {content_types: [text/plain, Image/PNG]}", "wrong-type", "attachments.content_types[1]"),
        ("attachments: {content_types: [text/plain, text/plain]}", "duplicate-item", "attachments.content_types[1]"),
        ("attachments: {from: nobody}", "unknown-attachments", "attachments"),
        ("attachments: {size: 1}", "unknown-keyword", "attachments.size"),
        ("notify: maybe", "wrong-type", "notify"),
        ("notify: {channel: sms}", "unknown-keyword", "notify.channel"),
        (
            "escalate: [{after: 2 business days, users: b}, {after: 1 business day, users: c}]",
            "escalation-order",
            "escalate",
        ),
    ],
)
def test_this_is_reported(keywords: str, code: str, path: str) -> None:
    found = problems(keywords)
    assert (code, f"w.tasks.t.human.{path}") in found, found


@pytest.mark.parametrize(
    ("value", "duration"),
    [
        (90, Duration(90)),
        ("90s", Duration(90)),
        ("2 days", Duration(172_800)),
        ("1 hour", Duration(3_600)),
        ("2d", Duration(172_800)),
        ("1 business minute", Duration(60, Unit.BUSINESS_SECOND)),
        ("2 business hours", Duration(7200, Unit.BUSINESS_SECOND)),
        ("10 business days", Duration(10, Unit.BUSINESS_DAY)),
    ],
)
def test_a_duration_is_a_count_of_a_unit(value: object, duration: Duration) -> None:
    assert duration_of(value) == duration


@pytest.mark.parametrize(
    "value", [True, -1, 1.5, None, "", "2", "2 weeks", "2  days", "-2d", "2 business weeks", "١d", [], "2d\n"]
)
def test_anything_else_is_none(value: object) -> None:
    assert not is_duration(value)


def test_only_the_same_units_are_compared() -> None:
    assert Duration(1).is_before(Duration(2))
    assert not Duration(1).is_before(Duration(2, Unit.BUSINESS_DAY))
    assert not Duration(2).is_before(Duration(2))


@pytest.mark.parametrize(("separate", "found"), [("[{user: b}, {user: c}]", True), ("{user: c}", False)])
def test_who_is_excluded_has_no_vote(separate: str, found: bool) -> None:
    keywords = f"users: [a, b], quorum: 2, separate_from: {separate}"
    text = f"version: '2.0'\nw:\n  tasks:\n    t:\n      human: {{title: T, {keywords}}}\n"
    codes = [problem.code for problem in check([Source("f.yaml", text)]).problems]
    assert ("quorum-too-large" in codes) == found
