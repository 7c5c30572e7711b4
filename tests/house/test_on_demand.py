"""What stands for a module that is loaded when it is used."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tradewind_server.on_demand import OnDemand


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder from which modules are loaded."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_module_is_loaded_when_something_of_it_is_asked_for(folder: Path) -> None:
    """And is then what everybody else has."""
    # given
    (folder / "loaded_late.py").write_text("class Wrong(Exception): ...\n")
    module = OnDemand("loaded_late")
    assert "loaded_late" not in sys.modules

    # when
    wrong = module.Wrong

    # then
    assert sys.modules.pop("loaded_late").Wrong is wrong


def test_missing_module_is_told_when_it_is_used(folder: Path) -> None:
    """Not before, and by its name."""
    module = OnDemand("loaded_never")
    with pytest.raises(ModuleNotFoundError, match="loaded_never"):
        _ = module.anything
