"""The room `errors`, the enum ErrorReason and docs/errors.md list the same refusals.

Planted faults that this was seen to find: a refusal without its enum value, a renamed metadata key, a wrong code.
"""

from __future__ import annotations

import re
import string
from pathlib import Path

from tradewind.v1 import error_reason_pb2
from tradewind_server import errors
from tradewind_server.errors import people

assert people  # those that are declared there are subclasses only once it is loaded

ROOT = Path(__file__).resolve().parent.parent

#: Code of each kind; api/errors.py applies the same table to real calls.
CODES = {
    errors.Kind.INVALID: "INVALID_ARGUMENT",
    errors.Kind.NOT_FOUND: "NOT_FOUND",
    errors.Kind.EXISTS: "ALREADY_EXISTS",
    errors.Kind.WRONG_STATE: "FAILED_PRECONDITION",
    errors.Kind.CONFLICT: "ABORTED",
    errors.Kind.EXHAUSTED: "RESOURCE_EXHAUSTED",
    errors.Kind.COMPACTED: "OUT_OF_RANGE",
    errors.Kind.DENIED: "PERMISSION_DENIED",
    errors.Kind.UNAUTHENTICATED: "UNAUTHENTICATED",
    errors.Kind.UNAVAILABLE: "UNAVAILABLE",
}

#: What is said of a reason: its code and its metadata keys.
Facts = tuple[str, tuple[str, ...]]

INTERNAL: Facts = ("INTERNAL", ("log_id",))


def declared() -> dict[str, Facts]:
    """Read the server's own list."""
    facts = {"INTERNAL": INTERNAL}
    for refusal in errors.Refusal.__subclasses__():
        names = [name for _, name, _, _ in string.Formatter().parse(refusal.sentence) if name]
        facts[refusal.reason] = (CODES[refusal.kind], tuple(dict.fromkeys(names)))
    return facts


def published() -> dict[str, Facts]:
    """Read the comments and values of the enum's proto."""
    text = (ROOT / "protos/tradewind/v1/error_reason.proto").read_text()
    pattern = re.compile(
        r"((?:  // .*\n)+)  // Metadata: (.*)\.\n  ERROR_REASON_(\w+) = \d+;",
    )
    return {reason: (codes(comment)[-1], keys(names)) for comment, names, reason in pattern.findall(text)}


def documented() -> dict[str, Facts]:
    """Read the sections of docs/errors.md."""
    text = (ROOT / "docs/errors.md").read_text()
    pattern = re.compile(r"^## (\w+)\n\n[^#]+?- Code: `(\w+)`\n- Metadata: (.*)\n- What to do: \S", re.MULTILINE)
    return {reason: (code, keys(names)) for reason, code, names in pattern.findall(text)}


def codes(comment: str) -> list[str]:
    return re.findall(r"\b([A-Z_]{5,})\.", comment)


def keys(names: str) -> tuple[str, ...]:
    return () if names == "none" else tuple(name.strip("`") for name in names.split(", "))


def test_the_enum_says_what_the_server_refuses() -> None:
    """Each refusal has a value whose comment names its code and metadata, and there is no other value."""
    assert published() == declared()


def test_the_page_says_what_the_server_refuses() -> None:
    """Each refusal has a section with its code, its metadata and what to do, and there is no other section."""
    assert documented() == declared()


def test_the_stubs_have_every_reason() -> None:
    """The generated enum has the same names."""
    prefix = "ERROR_REASON_"
    names = {name.removeprefix(prefix) for name in error_reason_pb2.ErrorReason.DESCRIPTOR.values_by_name}
    assert names == {"UNSPECIFIED", *declared()}
