"""Forms: what a person fills in, as a JSON Schema of an object.

Everything happens in memory: a schema that refers to another place is refused, patterns run in linear time, and
numbers are compared exactly.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import NoReturn, TypeAlias

import jsonschema_rs

from tradewind_server.lang.values import encode

#: Problems told of one input.
_MOST_PROBLEMS = 20
#: Where something is wrong with a value, and what: (path, sentence).
Fault: TypeAlias = tuple[str, str]


class FormInvalid(ValueError):
    """A schema is none, or describes no object; the text says why."""


def check_form(schema: dict[str, object]) -> None:
    """See that *schema* can be used as a form.

    Raises:
        FormInvalid: it cannot.
    """
    if schema.get("type") != "object":
        raise FormInvalid("its type is not 'object'")
    try:
        jsonschema_rs.meta.validate(schema)
    except jsonschema_rs.ValidationError as error:
        raise FormInvalid(f"at '{_path(error.instance_path)}' {error.message[:200]}") from None
    except (jsonschema_rs.ReferencingError, ValueError) as error:
        raise FormInvalid(_first_line(error)) from None
    _validator(encode(schema))


def faults_of(schema: Mapping[str, object], data: object) -> Sequence[Fault]:
    """Return what is wrong with *data* by a *schema* that has been checked; nothing if it fits."""
    found: list[Fault] = []
    for error in _validator(encode(schema)).iter_errors(data):
        found.append((_path(error.instance_path), f"{error.message[:300]}."))
        if len(found) == _MOST_PROBLEMS:
            break
    return found


@functools.lru_cache(maxsize=256)
def _validator(schema: bytes) -> jsonschema_rs.Validator:
    try:
        return jsonschema_rs.Draft202012Validator(
            schema.decode(),
            validate_formats=True,
            pattern_options=jsonschema_rs.RegexOptions(),
            retriever=_refuse,
            # what a person has entered may be confidential, and messages travel further than values
            mask="the value",
        )
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        raise FormInvalid(_first_line(error)) from None


def _first_line(error: Exception) -> str:
    return str(getattr(error, "message", error)).split("\n", 1)[0][:300]


def _refuse(uri: str) -> NoReturn:
    raise ValueError(f"it refers to '{uri}', and nothing is fetched")


def _path(parts: Sequence[str | int]) -> str:
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
