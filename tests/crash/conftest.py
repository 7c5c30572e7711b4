"""Where servers are killed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def _disk(_memory: None) -> Iterator[None]:
    """Keep these databases on the disk: the more a commit takes, the more is in flight when a server is killed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", None)
        yield
