"""Where Tradewind differs on purpose: the case, the row of the decision, and Tradewind's own result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tradewind_server.lang.values import decode

FILE = Path(__file__).parent / "deviations.json"


def load_deviations() -> dict[str, dict[str, Any]]:
    """Return the deviations by case name."""
    found: Any = decode(FILE.read_bytes())
    return {entry["case"]: entry for entry in found}
