"""Forms: what a person fills in, as a JSON Schema of an object.

Everything happens in memory: a schema that refers to another place is refused, patterns run in linear time, and
numbers are compared exactly.
"""

from __future__ import annotations

import functools
import itertools
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import NoReturn, TypeAlias

import jsonschema_rs

from tradewind_server.lang.values import encode

#: Problems told of one input; all are counted.
_MOST_PROBLEMS = 1_000
_REFERENCES = frozenset({"$ref", "$dynamicRef", "$recursiveRef"})
#: Parts of a form, each reference counted as what it stands for, and levels.
_MOST_WEIGHT, _MOST_DEPTH = 10_000, 200
#: Bytes of a form times bytes of data: 25 ms to find the first problem, with an array of choices among 400.
_MOST_WORK = 500_000_000
#: Up to here all problems are told: a tenth of a second, with the same.
_TOLD_WORK = 1_000_000
#: The same for a plain form of any size, which has one schema for each value: bytes of data, a tenth of a second.
_TOLD_BYTES = 10_000
#: What a plain form has none of: a problem holds those of all choices, or a value has many schemas.
_NOT_PLAIN = tuple(
    f'"{word}":'.encode()
    for word in ("allOf", "anyOf", "contains", "dependentSchemas", "enum", "if", "not", "oneOf", "patternProperties")
)
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
    _Weighing(schema).check()
    try:
        jsonschema_rs.meta.validate(schema)
    except jsonschema_rs.ValidationError as error:
        raise FormInvalid(f"at '{_path(error.instance_path)}' {error.message[:200]}") from None
    except (jsonschema_rs.ReferencingError, ValueError) as error:
        raise FormInvalid(_first_line(error)) from None
    _validator(encode(schema))


class _Weighing:
    """Sees that checking data takes time in proportion to it: references that branch double the work with each step."""

    def __init__(self, schema: dict[str, object]) -> None:
        self._schema = schema
        #: Reference -> parts of what it stands for; None while they are counted.
        self._weights: dict[str, int | None] = {}

    def check(self) -> None:
        """Count all parts, each reference as what it stands for.

        Raises:
            FormInvalid: they are too many or too deep, or a reference leads elsewhere or to itself.
        """
        weight = self._weigh(self._schema, 0)
        if weight > _MOST_WEIGHT:
            raise FormInvalid(
                f"with its references written out it has {weight} parts; at most {_MOST_WEIGHT} are taken"
            )

    def _weigh(self, value: object, depth: int) -> int:
        if depth > _MOST_DEPTH:
            raise FormInvalid(f"it is nested more than {_MOST_DEPTH} levels deep")
        if isinstance(value, list):
            return 1 + sum(self._weigh(item, depth + 1) for item in value)
        if not isinstance(value, dict):
            return 1
        return 1 + sum(
            self._follow(key, item, depth)
            if key in _REFERENCES and isinstance(item, str)
            else self._weigh(item, depth + 1)
            for key, item in value.items()
        )

    def _follow(self, key: str, pointer: str, depth: int) -> int:
        if key != "$ref" or not pointer.startswith("#/"):
            raise FormInvalid(f"'{key}: {pointer[:80]}' is no reference to a place within it, such as '#/$defs/money'")
        if pointer not in self._weights:
            self._weights[pointer] = None
            self._weights[pointer] = self._weigh(_at(self._schema, pointer), depth + 1)
        weight = self._weights[pointer]
        if weight is None:
            raise FormInvalid(f"'{pointer[:80]}' refers to itself")
        return weight


def _at(schema: object, pointer: str) -> object:
    found = schema
    for part in pointer[2:].split("/"):
        name = urllib.parse.unquote(part).replace("~1", "/").replace("~0", "~")
        if isinstance(found, dict) and name in found:
            found = found[name]
        elif isinstance(found, list) and name.isdecimal() and int(name) < len(found):
            found = found[int(name)]
        else:
            raise FormInvalid(f"it refers to '{pointer[:80]}', and there is nothing")
    return found


def faults_of(schema: Mapping[str, object], data: object) -> Sequence[Fault]:
    """Return what is wrong with *data* by a *schema* that has been checked; nothing if it fits."""
    text = encode(schema)
    work = len(text) * len(encode(data))
    if work > _MOST_WORK:
        return [("", f"It is too much for this form: at most {_MOST_WORK // len(text)} bytes are taken.")]
    validator = _validator(text)
    try:
        validator.validate(data)
    except jsonschema_rs.ValidationError as first:
        # telling all of them takes a hundred times as long as finding that there is one
        is_plain = not any(word in text for word in _NOT_PLAIN)
        is_quick = work <= _TOLD_WORK or (is_plain and work <= _TOLD_BYTES * len(text))
        errors = validator.iter_errors(data) if is_quick else iter([first])
        return [_fault(error) for error in itertools.islice(errors, _MOST_PROBLEMS)]
    return []


def _fault(error: jsonschema_rs.ValidationError) -> Fault:
    """Return where the problem is and what it is: of what is missing, where it should be."""
    where = list(error.instance_path)
    if isinstance(error.kind, jsonschema_rs.ValidationErrorKind.Required):
        where.append(error.kind.property)
    return _path(where), f"{error.message[:300]}."


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
