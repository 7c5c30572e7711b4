"""std.email against a mail server on loopback."""

from __future__ import annotations

from decimal import Decimal
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default

import pytest

from tests.actions.conftest import Identity
from tests.actions.mail_server import MailServer
from tradewind_server.actions.egress import EgressPolicy
from tradewind_server.actions.email import EmailAction
from tradewind_server.actions.files import Files
from tradewind_server.actions.outcome import ActionError
from tradewind_server.lang.values import encode
from tradewind_server.testing.clock import CountedIds, VirtualClock


def action(identity: Identity | None = None, *, allow_private: bool = True) -> EmailAction:
    """Make the action, with the certificate's folder as its directory of files."""
    files = Files(str(identity.folder) if identity else "")
    return EmailAction(EgressPolicy(allow_private), files, VirtualClock().now, CountedIds())


def given(server: MailServer, **more: object) -> dict[str, object]:
    """Return the least that the action takes, and *more*."""
    return {"from_addr": "a@x.example", "to_addrs": ["b@y.example"], "smtp_server": server.address, **more}


async def failure(made: EmailAction, parameters: dict[str, object]) -> ActionError:
    """Return what the action fails with."""
    with pytest.raises(ActionError) as caught:
        await made.run(parameters)
    return caught.value


def received(server: MailServer) -> EmailMessage:
    """Return the one message that the server got."""
    [data] = server.messages
    message = message_from_bytes(data.removesuffix(b".\r\n"), policy=default)
    assert isinstance(message, EmailMessage)
    return message


async def test_email_as_small_as_can_be() -> None:
    """No TLS and no login unless there is a password; Mistral's words for what is missing."""
    with MailServer() as server:
        assert await action().run(given(server)) is None

    message = received(server)
    assert (message["From"], message["To"], message["Subject"]) == ("a@x.example", "b@y.example", "<No subject>")
    assert message.get_content().strip() == "<No body>"
    assert message["Date"].datetime == VirtualClock().now().replace(microsecond=0)
    assert message["Message-ID"]
    assert [line.split(" ")[0] for line in server.commands] == ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]


async def test_email_with_everything() -> None:
    """Copies, blind copies that no header shows, both bodies, attachments."""
    with MailServer() as server:
        await action().run(
            given(
                server,
                to_addrs="Bert <b@y.example>",
                cc_addrs=["c@y.example"],
                bcc_addrs=["d@y.example"],
                reply_to="r@x.example",
                subject="Grüße\u20ac",
                body="plain\n.\nend",
                html_body="<b>html</b>",
                attachments=[
                    {"filename": "a.csv", "content": "1;ä", "content_type": "text/csv"},
                    {"filename": "b.bin", "content_base64": "AP8="},
                ],
            )
        )

    message = received(server)
    assert {name: message[name] for name in ("To", "Cc", "Bcc", "Reply-To", "Subject")} == {
        "To": "Bert <b@y.example>", "Cc": "c@y.example", "Bcc": None, "Reply-To": "r@x.example", "Subject": "Grüße€",
    }  # fmt: skip
    assert [c for c in server.commands if c.startswith("RCPT")] == [f"RCPT TO:<{n}@y.example>" for n in "bcd"]
    plain, html = message.get_body(("plain",)), message.get_body(("html",))
    assert plain is not None
    assert html is not None
    assert plain.get_content().replace("\r", "").replace("..", ".") == "plain\n.\nend\n"
    assert html.get_content().strip() == "<b>html</b>"
    attached = [
        (part.get_filename(), part.get_content_type(), part.get_payload(decode=True))
        for part in message.iter_attachments()
    ]
    assert attached == [
        ("a.csv", "text/csv", "1;ä".encode()),
        ("b.bin", "application/octet-stream", b"\0\xff"),
    ]


@pytest.mark.parametrize("mode", ["starttls", "implicit", None])
async def test_email_logs_in_over_tls_only(identity: Identity, mode: str | None) -> None:
    """A password means STARTTLS, unless TLS is spoken from the beginning."""
    with MailServer(identity.server(), implicit=mode == "implicit") as server:
        await action(identity).run(
            given(server, smtp_password="pass word", smtp_username="user", tls=mode, verify=identity.trusted)
        )

    assert server.logins == [("user", "pass word", True)]
    assert len(server.messages) == 1


async def test_email_sender_is_the_user_by_default(identity: Identity) -> None:
    """As in Mistral."""
    with MailServer(identity.server()) as server:
        await action().run(given(server, from_addr="Ann <a@x.example>", smtp_password="p", verify=False))

    assert server.logins == [("a@x.example", "p", True)]


async def test_email_checks_the_certificate(identity: Identity) -> None:
    """It is on by default, and nothing is sent before."""
    with MailServer(identity.server()) as server:
        error = await failure(action(), given(server, smtp_password="p"))

    assert (error.code, error.retryable, server.logins, server.messages) == ("TLS", False, [], [])


async def test_email_never_falls_back_to_no_tls() -> None:
    """A server that offers no STARTTLS, or somebody between who hides it, gets no password."""
    with MailServer() as server:
        error = await failure(action(), given(server, smtp_password="p"))

    assert (error.code, error.retryable) == ("NOT_OFFERED", False)
    assert [line.split(" ")[0] for line in server.commands] == ["EHLO"]


async def test_email_refused_login(identity: Identity) -> None:
    """Another attempt would fail alike; the password is not told."""
    with MailServer(identity.server(), answers={"AUTH": b"535 no p4ssword\r\n"}) as server:
        error = await failure(action(), given(server, smtp_password="p4ssword", verify=False))

    assert (error.code, error.retryable) == ("LOGIN_REFUSED", False)
    assert "p4ssword" not in error.message


@pytest.mark.parametrize(
    ("answers", "code", "retryable"),
    [
        ({"MAIL": b"451 later\r\n"}, "SMTP_451", True),
        ({"MAIL": b"550 never\r\n"}, "SMTP_550", False),
        ({"MESSAGE": b"452 full\r\n"}, "SMTP_452", True),
        ({"MESSAGE": b"554 spam\r\n"}, "SMTP_554", False),
        ({"RCPT": b"550 who\r\n"}, "RECIPIENTS_REFUSED", False),
        ({"RCPT": b"450 busy\r\n"}, "RECIPIENTS_REFUSED", True),
        ({"EHLO": b"x" * 2_000_000 + b"\r\n"}, "CONNECTION", True),
        ({"EHLO": b"no number\r\n"}, "CONNECTION", True),
    ],
)
async def test_email_refused_message(answers: dict[str, bytes], code: str, retryable: bool) -> None:
    """What begins with 4 may go another time; nonsense is a bad connection."""
    with MailServer(answers=answers) as server:
        error = await failure(action(), given(server))

    assert (error.code, error.retryable) == (code, retryable)


@pytest.mark.parametrize("verb", ["RCPT", "MAIL"])
async def test_email_answer_that_is_no_text(verb: str) -> None:
    """A server may send any bytes; what is stored can be stored."""
    with MailServer(answers={verb: b"550 \xff\xfe\r\n"}) as server:
        error = await failure(action(), given(server))

    assert encode([error.message, error.details])
    assert "550 ??" in str(error.details or error.message)


async def test_email_tells_who_was_refused() -> None:
    """The message has gone to the others: the action succeeds, and says who did not get it."""
    with MailServer(answers={"RCPT TO:<bad@y.example>": b"550 who\r\n"}) as server:
        result = await action().run(given(server, to_addrs=["b@y.example", "bad@y.example"]))

    assert result == {"refused": {"bad@y.example": "550 who"}}
    assert len(server.messages) == 1


@pytest.mark.parametrize("greeting", [None, b"220-" + b"x" * 100 + b"\r\n"], ids=["silent", "unfinished"])
async def test_email_silent_server_times_out(greeting: bytes | None) -> None:
    """The timeout is that of the whole action."""
    with MailServer(greeting=greeting) as server:
        error = await failure(action(), given(server, timeout=Decimal("0.05")))

    assert (error.code, error.retryable, error.message) == ("TIMEOUT", True, "No answer within 0.05 s.")


async def test_email_endless_greeting_is_cut() -> None:
    """It is not collected until memory is full."""
    with MailServer(greeting=b"220-more\r\n" * 200_000) as server:
        error = await failure(action(), given(server, timeout=5))

    assert error.code == "CONNECTION"


async def test_email_to_a_private_address_is_refused() -> None:
    """The policy of all outgoing connections."""
    with MailServer() as server:
        error = await failure(action(allow_private=False), given(server))

    assert (error.code, error.retryable, server.commands) == ("ADDRESS_REFUSED", False, [])


async def test_email_nobody_there() -> None:
    """Somebody may be, later."""
    with MailServer() as server:
        pass
    error = await failure(action(), given(server))

    assert (error.code, error.retryable) == ("CONNECTION", True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"from_addr": ""}, {"from_addr": 5}, {"from_addr": "a@x\r\nRCPT TO:<z@z>"}, {"to_addrs": []},
        {"to_addrs": ["nobody"]}, {"to_addrs": [5]}, {"to_addrs": ["a@b\r\nc"]}, {"subject": "a\r\nBcc: z@z.example"},
        {"subject": 1}, {"reply_to": "a@b\nBcc: z@z"}, {"smtp_server": ""}, {"smtp_server": "h:x"},
        {"smtp_server": ":25"}, {"smtp_server": "h:99999"}, {"tls": "maybe"}, {"tls": "none", "smtp_password": "p"},
        {"timeout": 0}, {"verify": 1}, {"verify": "../x"}, {"attachments": "x"}, {"attachments": [{"filename": "x"}]},
        {"attachments": [{"filename": "x", "content": "a", "content_base64": "YQ=="}]},
        {"attachments": [{"filename": "x", "content_base64": "*"}]}, {"attachments": [{"content": "a"}]},
        {"attachments": [{"filename": "x", "content": "a", "path": "/etc/passwd"}]},
        {"attachments": [{"filename": "x", "content": "a", "content_type": "text"}]},
        {"attachments": [{"filename": "x\r\ny", "content": "a", "content_type": "text/plain\r\nX: y"}]},
    ],
)  # fmt: skip
async def test_email_wrong_input_is_not_sent(wrong: dict[str, object]) -> None:
    """Header injection included; another attempt would fail alike."""
    with MailServer() as server:
        error = await failure(action(), given(server, **wrong))

    assert (error.code, error.retryable, server.messages) == ("BAD_INPUT", False, [])
