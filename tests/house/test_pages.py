"""Pages that are made from the code say what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tools import advice, settings_docs, state_machine
from tradewind_server.api.convert import page_size_of

_PROTOS = Path(__file__).resolve().parents[2] / "protos" / "tradewind" / "v1"


def test_settings_page_is_up_to_date() -> None:
    """Run `make pages` after a change of settings.py."""
    assert settings_docs.PAGE.read_text(encoding="utf-8") == settings_docs.page()


def test_settings_need_a_comment() -> None:
    """A setting whose unit and meaning are not said cannot be documented."""
    with pytest.raises(ValueError, match="listen has no"):
        list(settings_docs.rows("listen: str = ''"))


def test_state_machine_page_is_up_to_date() -> None:
    """Run `make pages` after a change of engine/transitions.py."""
    assert state_machine.PAGE.read_text(encoding="utf-8") == state_machine.page()


def test_advice_of_the_client_is_up_to_date() -> None:
    """Run `make pages` after a change of docs/errors.md."""
    assert advice.MODULE.read_text(encoding="utf-8") == advice.module()
    assert advice.advice_of("## A\n\nWhy.\n\n- Code: `X`\n- What to do: See [b](b.md).\n") == {"A": "See docs/b.md."}


def test_protos_say_how_large_a_page_is_by_default() -> None:
    """What is said of each `page_size` is what a caller gets who says none."""
    said = [
        (file.name, comment)
        for file in sorted(_PROTOS.glob("*.proto"))
        for comment in re.findall(r"((?:  //[^\n]*\n)+)  int32 page_size = ", file.read_text(encoding="utf-8"))
    ]
    wrong = [each for each in said if f"default {page_size_of(0)}." not in each[1]]
    assert len(said) > 10
    assert wrong == []
