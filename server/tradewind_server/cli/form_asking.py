"""A form asked field by field on a terminal, each answer checked before the next question."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import typer

from tradewind import values
from tradewind_server.cli.output import harmless
from tradewind_server.lang.forms import faults_of

_YES_NO = {"y": True, "yes": True, "true": True, "n": False, "no": False, "false": False}


def choose(outcomes: Mapping[str, bool]) -> str:
    """Ask for one of the outcomes."""
    known = list(outcomes)
    while True:
        answer = _prompt(f"Outcome ({', '.join(known)})", known[0] if len(known) == 1 else None)
        if answer in known:
            return answer
        _say(f"Expected one of {', '.join(known)}.")


def _say(text: str) -> None:
    typer.echo(harmless(text))


def _prompt(question: str, default: str | None, *, shows_default: bool = True, hides: bool = False) -> str:
    """Ask; the default is shown as all texts are, and is what it is when it is taken."""
    offer = f" [{default}]" if default and shows_default else ""
    text = harmless(f"{question}{offer}")
    return str(typer.prompt(text, default=default, show_default=False, hide_input=hides))


def fill_in(form: Mapping[str, Any], draft: values.Value) -> dict[str, values.Value]:
    """Ask for each property of *form*; what a *draft* holds is offered. Empty leaves an optional one out."""
    known = draft if isinstance(draft, dict) else {}
    data: dict[str, values.Value] = {}
    for name, schema in _in_order(form.get("properties") or {}):
        is_required = name in form.get("required", ())
        if _hints(schema).get("read-only"):
            value = _stated(name, schema, known.get(name))
        else:
            value = _ask(name, schema, known.get(name), is_required=is_required)
        if value is not None:
            data[name] = value
    return data


def _in_order(properties: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return the properties as 'x-ui' orders them: those with a number first, the others as they stand."""
    found = [(name, schema if isinstance(schema, dict) else {}) for name, schema in properties.items()]
    return sorted(found, key=lambda item: _hints(item[1]).get("order", math.inf))


def _hints(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    hints = schema.get("x-ui")
    return hints if isinstance(hints, dict) else {}


def _stated(name: str, schema: dict[str, Any], known: values.Value) -> values.Value:
    """Show what is not to be changed, and return it."""
    value = schema.get("default") if known is None else known
    if value is not None:
        _say(f"{_question(name, schema, is_required=True)}: {'***' if _is_secret(schema) else _text(value)}")
    return value


def _is_secret(schema: Mapping[str, Any]) -> bool:
    """Tell whether an answer is not to be seen on the screen."""
    is_marked = schema.get("x-sensitive") is True or schema.get("writeOnly") is True
    return is_marked or _hints(schema).get("widget") == "password"


def _ask(name: str, schema: dict[str, Any], default: values.Value, *, is_required: bool) -> values.Value:
    default = schema.get("default") if default is None else default
    question = _question(name, schema, is_required=is_required)
    is_secret = _is_secret(schema)
    while True:
        given = "" if default is None else _text(default)
        text = _prompt(question, given, shows_default=bool(default) and not is_secret, hides=is_secret)
        if not text.strip():
            if not is_required:
                return None
            _say("Expected an answer.")
            continue
        value, problem = _read(text.strip(), schema)
        faults = [] if problem else faults_of(_alone(name, schema), {name: value})
        if not problem and not faults:
            return value
        _say(problem or faults[0][1])


def _question(name: str, schema: dict[str, Any], *, is_required: bool) -> str:
    title = str(schema.get("title") or name)
    help_ = _hints(schema).get("help") or schema.get("description")
    hints = [str(help_)] if help_ else []
    if isinstance(schema.get("enum"), list):
        hints.append(", ".join(_text(item) for item in schema["enum"]))
    hints += [] if is_required else ["optional"]
    return f"{title} ({'; '.join(hints)})" if hints else title


def _alone(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {name: schema}}


def _read(text: str, schema: dict[str, Any]) -> tuple[values.Value, str]:
    """Return the value that *text* means, or what is wrong with it."""
    type_ = schema.get("type")
    if type_ == "string":
        return text, ""
    if type_ == "boolean":
        word = _YES_NO.get(text.lower())
        return word, "" if word is not None else "Expected yes or no."
    try:
        return values.decode(text.encode()), ""
    except values.NotCarried:
        if type_ is None:
            return text, ""
        return None, f"Expected {'a number' if type_ in ('number', 'integer') else 'JSON'}."


def _text(value: values.Value) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else values.encode(value).decode()
