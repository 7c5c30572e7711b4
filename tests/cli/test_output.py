"""What others wrote, on the terminal of who reads it."""

from __future__ import annotations

import json

import pytest
from rich.text import Text

from tradewind_server.cli.output import Output

#: An amount of 01 that is shown as 10, and colours by one control character.
SAID = "pay \u202e01\u202c \u2066EUR\u2069 \u200e\x9b31m"


def test_nothing_is_shown_in_another_order_than_it_has(capsys: pytest.CaptureFixture[str]) -> None:
    """Else whoever approves reads another amount than is paid; a mark of direction alone does no harm."""
    Output(as_json=False).text(Text(SAID))

    assert capsys.readouterr().out == "pay \ufffd01\ufffd \ufffdEUR\ufffd \u200e\ufffd31m\n"


def test_json_on_a_terminal_moves_nothing_and_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    """Control characters above U+007F stand in JSON as they are, and terminals obey them."""
    Output(as_json=True).json({"said": SAID, "plain": "grüß"})

    written = capsys.readouterr().out
    assert written == '{"said":"pay \\u202e01\\u202c \\u2066EUR\\u2069 \u200e\\u009b31m","plain":"grüß"}\n'
    assert json.loads(written)["said"] == SAID
