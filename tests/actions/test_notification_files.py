"""The files of channels and contacts, and the texts of notifications."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tradewind_server.actions.notification_channels import (
    EmailChannel,
    Setup,
    SmsChannel,
    WebhookChannel,
    read_channels,
)
from tradewind_server.actions.notification_contacts import Contacts
from tradewind_server.actions.notification_texts import DEFAULTS, Texts, written
from tradewind_server.lang.configuration import Unusable

CHANNELS = """
link: https://t.example/{human_task}
channels:
  mail: {kind: email, server: "smtp.example.org:587", from: t@example.org, tls: starttls, timeout: 20, max_age: 2h}
  sms: {kind: sms, url: "https://s.example", form: {to: "{address}"}, message_id: id, allow_private: true}
  hook: {kind: webhook, signing_secret: hook, headers: {X-Team: hr}, max_attempts: 9}
templates:
  offered: {subject: "New: {title}"}
"""
FIELDS = {"title": "Pay\n{who}", "human_task": "e/a1", "workflow": "w", "due": "", "who": "alice", "priority": 0}


def test_a_file_of_channels_says_how_each_sends(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(CHANNELS)
    found = read_channels(str(tmp_path / "c.yaml"))

    assert found.channels == {
        "mail": EmailChannel(
            name="mail", server="smtp.example.org:587", sender="t@example.org", tls="starttls", timeout=20, max_age=7200
        ),
        "sms": SmsChannel(
            name="sms", url="https://s.example", form={"to": "{address}"}, message_id="id", allow_private=True
        ),
        "hook": WebhookChannel(name="hook", signing_secret="hook", headers={"X-Team": "hr"}, max_attempts=9),
    }
    assert found.templates["offered"] == Texts("New: {title}", DEFAULTS["offered"].text, DEFAULTS["offered"].short)
    assert found.templates["closed"] == DEFAULTS["closed"]
    assert found.link == "https://t.example/{human_task}"
    assert read_channels("") == Setup()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("channels: {m: {kind: email, server: s}}", "'from' in a channel of kind 'email'"),
        ("channels: {m: {kind: pigeon}}", "one of email, sms, webhook"),
        ("channels: {m: {server: s}}", "Expected 'kind'"),
        ("channels: {M: {kind: webhook}}", "small letters"),
        ("channels: {m: {kind: webhook, server: s}}", "'server' is none"),
        ("channels: {m: {kind: webhook, timeout: 46}}", "up to 45 s"),
        ("channels: {m: {kind: webhook, timeout: 1 business day}}", "up to 45 s"),
        ("channels: {m: {kind: webhook, max_attempts: 0}}", "from 1 to 100"),
        ("channels: {m: {kind: webhook, allow_private: 1}}", "true or false"),
        ('channels: {m: {kind: webhook, headers: {a: "b\\nc"}}}', "a mapping of headers"),
        ("channels: {m: {kind: sms, url: u}}", "either 'json' or 'form'"),
        ("channels: {m: {kind: sms, url: u, json: {a: b}, form: {a: b}}}", "either 'json' or 'form'"),
        ("channels: {m: {kind: sms, url: u, form: {a: [b]}}}", "names to texts"),
        ("channels: {m: {kind: sms, url: u, method: GET, form: {a: b}}}", "one of POST"),
        ('channels: {m: {kind: sms, url: u, json: {a: ["{salary}"]}}}', "with fields of address, business_key"),
        ("channels: {m: {kind: webhook}}\ntemplates: {offered: {text: '{form}'}}", "with fields of business_key"),
        ("channels: {m: {kind: webhook}}\ntemplates: {asked: {text: x}}", "one of offered, reminder"),
        ("channels: {m: {kind: webhook}}\nlink: '{salary}'", "with fields of"),
        ("channels: []", "a mapping of names to channels"),
    ],
)
def test_a_wrong_file_of_channels_is_told_with_its_place(text: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(Unusable) as caught:
        read_channels(str(tmp_path / "c.yaml"))

    assert problem in str(caught.value)
    assert "c.yaml:" in str(caught.value)


def test_contacts_are_read_again_when_they_change(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file that cannot be used leaves what was there, and is told once."""
    path = tmp_path / "c.yaml"
    path.write_text("users: {alice: [{mail: a@b}, {sms: '1'}]}\ngroups: {alice: {mail: all@b}}")
    contacts = Contacts(str(path))
    assert contacts.ways("user:alice") == [("mail", "a@b"), ("sms", "1")]
    assert contacts.ways("user:alice", ["sms", "hook", "mail"]) == [("sms", "1"), ("mail", "a@b")]
    assert contacts.ways("group:alice") == [("mail", "all@b")]
    assert list(contacts.ways("user:bob")) == []

    path.write_text("users: {alice: [{sms: 49170}]}")
    with caplog.at_level(logging.ERROR):
        assert contacts.ways("user:alice", ["sms"]) == [("sms", "1")]
        assert contacts.ways("user:alice", ["sms"]) == [("sms", "1")]
    assert len([r for r in caplog.records if "until this is mended" in r.message]) == 1

    path.write_text("users: {bob: {sms: '2'}}")
    assert (list(contacts.ways("user:alice")), contacts.ways("user:bob")) == ([], [("sms", "2")])


@pytest.mark.parametrize("text", ["users: []", "users: {a: [b]}", "users: {a: [{x: '1', y: '2'}]}", "people: {}"])
def test_a_wrong_file_of_contacts_stops_the_server(text: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(Unusable):
        Contacts(str(tmp_path / "c.yaml"))


def test_what_fields_hold_is_no_template() -> None:
    """Nor does it make lines in a subject; lines whose fields are empty are left out, others stay."""
    texts = Texts(
        "{title}", "Hello {to}!\nDue: {due}\nPriority {priority} {due}\n\n{link}\n{title}", "{title}\n{due}\nend"
    )

    letter = written(texts, "i", {**FIELDS, "to": "bob"}, "https://t/{human_task}")

    assert letter.subject == "Pay {who}"
    assert letter.text == "Hello bob!\nPriority 0 \n\nhttps://t/e/a1\nPay\n{who}\n"
    assert letter.short == "Pay {who} end"
    assert (letter.fields["id"], letter.fields["started_by"], "salary" in letter.fields) == ("i", "", False)


def test_a_subject_is_cut_and_there_is_no_link_to_nothing() -> None:
    letter = written(DEFAULTS["test"], "i", {"title": "x" * 999}, "https://t/{human_task}")
    assert letter.fields["link"] == ""
    assert len(written(Texts("{title}", "a", "b"), "i", {"title": "x" * 999}, "").subject) == 200


@pytest.mark.parametrize("kind", sorted(DEFAULTS))
def test_every_kind_has_texts_that_can_be_written(kind: str) -> None:
    letter = written(DEFAULTS[kind], "i", {**FIELDS, "message": "because", "to": "bob"}, "")
    assert letter.subject
    assert letter.short
    assert "{title}" not in letter.text
