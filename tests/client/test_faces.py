"""The two faces of the client cannot drift apart."""

from __future__ import annotations

import inspect

from tradewind import Client, aio


def public(face: type) -> dict[str, list[str]]:
    """Name the public methods with their parameters."""
    return {
        name: list(inspect.signature(member).parameters)
        for name, member in vars(face).items()
        if inspect.isfunction(member) and not name.startswith("_")
    }


def test_both_faces_have_the_same_methods() -> None:
    """Whoever knows one knows the other: the same names and parameters."""
    assert public(aio.Client) == public(Client)
