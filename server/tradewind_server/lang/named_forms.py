"""Forms with names: `forms` beside workflows, deployed and versioned like these.

A human task names one: `form: leave` is the one that is current when its process starts, `form: leave@3` that version.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from tradewind_server.lang.documents import Path
from tradewind_server.lang.forms import FormInvalid, check_form
from tradewind_server.lang.reader import Reader
from tradewind_server.lang.specs import FormSpec

#: Key of the forms in a document.
FORMS = "forms"
#: What a form that is shown says of itself: its name and version.
ORIGIN = "x-form"
_NAME = re.compile(r"[\w-]{1,200}")
_REFERENCE = re.compile(r"([\w-]{1,200})(?:@([1-9][0-9]{0,8}))?")
_HINTS = {
    "order": (int, "a whole number"),
    "widget": (str, "a text"),
    "help": (str, "a text"),
    "read-only": (bool, "true or false"),
}


def is_forms(value: object) -> bool:
    """Tell whether what stands under `forms` are forms, and not a workflow or action of that name."""
    return isinstance(value, dict) and not value.keys() & {"tasks", "base"}


def is_reference(text: str) -> bool:
    """Tell whether *text* can be the name of a form, with or without a version."""
    return _REFERENCE.fullmatch(text) is not None


def parts_of(reference: str) -> tuple[str, int]:
    """Return name and version of a reference; version 0 for the current one."""
    name, _, version = reference.partition("@")
    return name, int(version or 0)


def read_form(reader: Reader, name: str, value: object, path: Path, workbook: str = "") -> FormSpec | None:
    """Read one form; None if it is none."""
    if _NAME.fullmatch(name) is None:
        message = f"Expected a form's name of at most 200 letters, digits, '_' and '-', but got '{name[:60]}'."
        reader.report("invalid-name", path, message, at_value=False)
    if not isinstance(value, dict) or not value:
        reader.wrong(path, value, "a JSON Schema of an object")
        return None
    try:
        check_form(value)
        check_hints(value)
    except FormInvalid as problem:
        reader.report("form", path, f"Expected a JSON Schema of an object, but {problem}.")
        return None
    description = value.get("description")
    return FormSpec(
        f"{workbook}.{name}" if workbook else name,
        reader.line(path),
        value,
        description if isinstance(description, str) else "",
        workbook=workbook,
    )


def check_hints(schema: object, place: str = "") -> None:
    """See that what a form says under `x-ui` can be used.

    Raises:
        FormInvalid: it cannot.
    """
    if isinstance(schema, list):
        for part in schema:
            check_hints(part, place)
    if not isinstance(schema, Mapping):
        return
    properties = schema.get("properties")
    for name, part in properties.items() if isinstance(properties, Mapping) else ():
        if isinstance(part, Mapping) and "x-ui" in part:
            _check_hint(part["x-ui"], f"{place}.{name}" if place else str(name))
    for name, part in schema.items():
        check_hints(part, place if name == "properties" else f"{place}.{name}" if place else str(name))


def _check_hint(hints: object, place: str) -> None:
    if not isinstance(hints, Mapping):
        raise FormInvalid(f"'x-ui' of '{place}' is no mapping")
    for name, (type_, expected) in _HINTS.items():
        value = hints.get(name)
        if value is not None and (not isinstance(value, type_) or (type_ is int and isinstance(value, bool))):
            raise FormInvalid(f"'{name}' in 'x-ui' of '{place}' is not {expected}")
