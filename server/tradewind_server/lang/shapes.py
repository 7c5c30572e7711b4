"""The shapes of values that several keywords share.

Source: `mistral/lang/types.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from tradewind_server.lang.documents import Path
from tradewind_server.lang.expressions import Template, is_single_expression
from tradewind_server.lang.reader import Reader, Schema, Shape
from tradewind_server.lang.specs import InputSpec


def _shape(
    expected: str,
    accepts: Callable[[object], bool],
    convert: Callable[[Reader, object, Path], object],
    schema: Schema,
    *,
    takes_booleans: bool = False,
) -> Shape:
    def read(reader: Reader, value: object, path: Path) -> object:
        if accepts(value):
            return convert(reader, value, path)
        return reader.wrong(path, value, expected)

    return Shape(expected, read, schema, takes_booleans)


def _as_it_is(reader: Reader, value: object, path: Path) -> object:
    return value


def _template(reader: Reader, value: object, path: Path) -> Template:
    return reader.template(value, path)


def is_text(value: object) -> bool:
    """Tell whether it is a text that is not empty."""
    return isinstance(value, str) and bool(value)


def is_expression(value: object) -> bool:
    """Tell whether it is exactly one expression."""
    return isinstance(value, str) and is_single_expression(value)


def is_count(value: object) -> bool:
    """Tell whether it is a whole number of at least 0."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


#: Highest priority of a task, and with a minus the lowest.
MOST_PRIORITY = 100


def is_priority(value: object) -> bool:
    """Tell whether it is a priority of a task."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MOST_PRIORITY


TEXT_SCHEMA: Schema = {"type": "string", "minLength": 1}
EXPRESSION_SCHEMA: Schema = {"type": "string", "pattern": r"^(<%[\s\S]*%>|\{\{[\s\S]*\}\})\s*$"}
_MAPPING_SCHEMA: Schema = {"type": "object", "minProperties": 1}

ANYTHING = _shape("anything", lambda value: True, _as_it_is, {})
TEXT = _shape("a text", is_text, _as_it_is, TEXT_SCHEMA)
DESCRIPTION = _shape(
    "a text", lambda value: True, lambda reader, value, path: value if isinstance(value, str) else str(value), {}
)
TEXT_TEMPLATE = _shape("a text", is_text, _template, TEXT_SCHEMA)
EXPRESSION = _shape("one expression", is_expression, _template, EXPRESSION_SCHEMA)
COUNT = _shape(
    "a whole number of at least 0, or one expression",
    lambda value: is_count(value) or is_expression(value),
    _template,
    {"anyOf": [{"type": "integer", "minimum": 0}, EXPRESSION_SCHEMA]},
)
PRIORITY = _shape(
    f"a whole number from -{MOST_PRIORITY} to {MOST_PRIORITY}, or one expression",
    lambda value: is_priority(value) or is_expression(value),
    _template,
    {"anyOf": [{"type": "integer", "minimum": -MOST_PRIORITY, "maximum": MOST_PRIORITY}, EXPRESSION_SCHEMA]},
)
FLAG = _shape(
    "true or false",
    lambda value: isinstance(value, bool),
    _as_it_is,
    {"type": "boolean"},
    takes_booleans=True,
)
CONDITION = _shape(
    "true, false or one expression",
    lambda value: isinstance(value, bool) or is_expression(value),
    _template,
    {"anyOf": [{"type": "boolean"}, EXPRESSION_SCHEMA]},
    takes_booleans=True,
)
TEMPLATES = _shape(
    "a mapping with at least one entry",
    lambda value: isinstance(value, dict) and bool(value),
    _template,
    _MAPPING_SCHEMA,
)
ANY_TEMPLATE = _shape("any value", lambda value: True, _template, {})


def _late_templates(reader: Reader, value: object, path: Path) -> Template:
    return reader.template(value, path, strict=False)


#: Mistral does not parse `output-on-error` before it needs it, so a broken one is only warned of.
LATE_TEMPLATES = _shape(
    "a mapping with at least one entry",
    lambda value: isinstance(value, dict) and bool(value),
    _late_templates,
    _MAPPING_SCHEMA,
)


#: Somebody meant `name: default`.
_TIGHT_DEFAULT = re.compile(r"([\w-]+)\s*[:=]\s*(.*)", re.DOTALL)


def _read_texts(reader: Reader, value: object, path: Path) -> object:
    expected = "a list of different texts"
    if not isinstance(value, list) or not value:
        return reader.wrong(path, value, expected)
    report_repeats(reader, path, value)
    for index, item in enumerate(value):
        if not is_text(item):
            reader.wrong((*path, index), item, "a text")
    return tuple(item for item in value if isinstance(item, str))


def report_repeats(reader: Reader, path: Path, items: list[object]) -> set[int]:
    """Report what stands in a list for the second time; returns where."""
    repeats, seen = set(), set()
    for index, item in enumerate(items):
        key = repr(item)
        if key in seen:
            repeats.add(index)
            message = f"Expected different items, but '{item}' is there twice."
            reader.report("duplicate-item", (*path, index), message, "Remove one.")
        seen.add(key)
    return repeats


_TEXTS_SCHEMA: Schema = {"type": "array", "minItems": 1, "uniqueItems": True, "items": TEXT_SCHEMA}
TEXTS = Shape("a list of different texts", _read_texts, _TEXTS_SCHEMA)


def _read_text_or_texts(reader: Reader, value: object, path: Path) -> object:
    return (value,) if is_text(value) else _read_texts(reader, value, path)


TEXT_OR_TEXTS = Shape(
    "a text or a list of different texts", _read_text_or_texts, {"anyOf": [TEXT_SCHEMA, _TEXTS_SCHEMA]}
)


def names_shape(expected: str, pattern: re.Pattern[str]) -> Shape:
    """Return the shape of one text of a *pattern*, or a list of different ones; it reads them as a tuple."""

    def read(reader: Reader, value: object, path: Path) -> object:
        names = value if isinstance(value, list) and value else [value]
        report_repeats(reader, path, names)
        for n, name in enumerate(names):
            if not isinstance(name, str) or not pattern.fullmatch(name):
                reader.wrong((*path, n) if isinstance(value, list) else path, name, expected)
        return tuple(name for name in names if isinstance(name, str))

    one: Schema = {"type": "string", "pattern": f"^{pattern.pattern}$"}
    return Shape(expected, read, {"anyOf": [one, {"type": "array", "minItems": 1, "uniqueItems": True, "items": one}]})


def _read_inputs(reader: Reader, value: object, path: Path) -> object:
    if not isinstance(value, list) or not value:
        return reader.wrong(path, value, "a list of names and 'name: default' pairs")
    repeats = report_repeats(reader, path, value)
    inputs: dict[str, InputSpec] = {}
    for index, item in enumerate(value):
        place = (*path, index)
        spec = _read_input(reader, item, place)
        if spec is None:
            continue
        if spec.name in inputs and index not in repeats:
            message = f"Expected input '{spec.name}' once; the later entry counts."
            reader.report("duplicate-input", place, message, "Remove one.")
        inputs[spec.name] = spec
    return tuple(inputs.values())


def _read_input(reader: Reader, item: object, path: Path) -> InputSpec | None:
    if is_text(item):
        _warn_odd_name(reader, str(item), path)
        return InputSpec(str(item), required=True)
    if not isinstance(item, dict) or len(item) != 1:
        reader.wrong(path, item, "a name or one 'name: default' pair")
        return None
    ((name, default),) = item.items()
    if isinstance(default, str) and ("<%" in default or "{{" in default or "{%" in default):
        message = f"Expected a literal default for input '{name}': an expression in it is not evaluated."
        reader.report("expression-in-default", (*path, name), message, "Use 'vars' instead.")
    return InputSpec(name, required=False, default=default)


def _warn_odd_name(reader: Reader, name: str, path: Path) -> None:
    pair = _TIGHT_DEFAULT.fullmatch(name)
    if pair is not None:
        message = f"Expected the name of an input, but the name is all of '{name}'."
        reader.report("odd-input", path, message, f"Write '{pair[1]}: {pair[2]}', with a blank behind ':'.")


_PAIR_SCHEMA: Schema = {"type": "object", "minProperties": 1, "maxProperties": 1}
INPUTS = Shape(
    "a list of names and 'name: default' pairs",
    _read_inputs,
    {"type": "array", "minItems": 1, "uniqueItems": True, "items": {"anyOf": [TEXT_SCHEMA, _PAIR_SCHEMA]}},
)
