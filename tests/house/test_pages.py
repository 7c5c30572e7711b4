"""Pages that are made from the code say what the code says."""

from __future__ import annotations

import pytest

from tools import settings_docs, state_machine


def test_settings_page_is_up_to_date() -> None:
    """Run tools/settings_docs.py after a change of settings.py."""
    assert settings_docs.PAGE.read_text(encoding="utf-8") == settings_docs.page()


def test_settings_need_a_comment() -> None:
    """A setting whose unit and meaning are not said cannot be documented."""
    with pytest.raises(ValueError, match="listen has no"):
        list(settings_docs.rows("listen: str = ''"))


def test_state_machine_page_is_up_to_date() -> None:
    """Run tools/state_machine.py after a change of engine/transitions.py."""
    assert state_machine.PAGE.read_text(encoding="utf-8") == state_machine.page()
