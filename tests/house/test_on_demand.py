"""What stands for a module that is loaded when it is used."""

from __future__ import annotations

import asyncio
import sys
import threading
from pathlib import Path

import pytest

from tradewind_server.on_demand import OnDemand, loaded


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


async def test_event_loop_goes_on_while_a_module_is_loaded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first web request of a server stopped everything else for a fifth of a second."""
    # given
    goes_on = threading.Event()
    monkeypatch.setattr(threading, "goes_on", goes_on, raising=False)
    (folder / "loaded_slowly.py").write_text("import threading\nwent_on = threading.goes_on.wait(10)\n")
    module = OnDemand("loaded_slowly")

    # when
    waiting = [asyncio.ensure_future(loaded(module)) for _ in range(2)]
    asyncio.get_running_loop().call_soon(goes_on.set)
    await asyncio.gather(*waiting)
    await loaded(sys)

    # then
    assert module.went_on
    assert sys.modules.pop("loaded_slowly").went_on
