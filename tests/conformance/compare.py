"""What counts as equal: the rules of the cases' README."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

#: Text that no two systems share.
_ANY_TEXT = ("<state_info>", "<action-error-text>", "<traceback-text>", "<uuid>")

Tree = Mapping[str, Any]


def differences(expected: Tree, actual: Tree, unstable: list[str]) -> list[str]:
    """Return what differs, each as one line; nothing means equal."""
    if bool(expected.get("accepted")) != bool(actual.get("accepted")):
        return [f"accepted: expected {expected.get('accepted')}, got {actual.get('accepted')} {actual.get('why', '')}"]
    if not expected.get("accepted"):
        return []
    if "start_error" in expected or "start_error" in actual:
        if ("start_error" in expected) != ("start_error" in actual):
            return [
                f"start: expected {expected.get('start_error', 'success')}, got {actual.get('start_error', 'success')}"
            ]
        return []
    if "state" not in expected:
        return []
    ignored = tuple(path.strip("/").replace("/", ".") + ":" for path in unstable)
    return [line for line in _execution("", expected, actual) if not line.startswith(ignored)]


def _execution(path: str, expected: Tree, actual: Tree) -> Iterator[str]:
    if expected.get("state") != actual.get("state"):
        info = actual.get("state_info")
        yield f"{path}state: expected {expected.get('state')}, got {actual.get('state')} ({info})"
    failed = expected.get("state") == "ERROR"
    yield from _value(f"{path}output", _without_result(expected, failed), _without_result(actual, failed))
    yield from _value(f"{path}published_global", expected.get("published_global"), actual.get("published_global"))
    yield from _tasks(path, expected.get("tasks") or [], actual.get("tasks") or [])


def _without_result(tree: Tree, failed: bool) -> Any:
    output = tree.get("output")
    if failed and isinstance(output, dict):
        # in state ERROR output.result may be any text or absent
        return {key: value for key, value in output.items() if key != "result" or not isinstance(value, str)}
    return output


def _tasks(path: str, expected: list[Tree], actual: list[Tree]) -> Iterator[str]:
    mine, theirs = sorted(actual, key=_order), sorted(expected, key=_order)
    names, wanted = [t["name"] for t in mine], [t["name"] for t in theirs]
    if names != wanted:
        yield f"{path}tasks: expected {wanted}, got {names}"
        return
    for e, a in zip(theirs, mine, strict=True):
        at = f"{path}{e['name']}."
        for key in ("type", "state", "n_action_executions"):
            if e.get(key) != a.get(key):
                yield f"{at}{key}: expected {e.get(key)}, got {a.get(key)} ({a.get('state_info')})"
        yield from _value(f"{at}published", e.get("published"), a.get("published"))
        children, others = e.get("subworkflows") or [], a.get("subworkflows") or []
        if len(children) != len(others):
            yield f"{at}subworkflows: expected {len(children)}, got {len(others)}"
            continue
        for child, other in zip(sorted(children, key=_child), sorted(others, key=_child), strict=True):
            yield from _execution(f"{at}sub.", child, other)


def _order(task: Tree) -> tuple[str, str]:
    return (task["name"], repr(_plain(task.get("published"))) + str(task.get("state")))


def _child(tree: Tree) -> str:
    return f"{tree.get('state')} {_plain(tree.get('output'))!r}"


def _plain(value: Any) -> Any:
    """Return *value* in a form in which equal things look alike."""
    if isinstance(value, dict):
        return {key: _plain(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, Decimal):
        return value.normalize()
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value).normalize()
    return value


def _value(path: str, expected: Any, actual: Any) -> Iterator[str]:
    if expected in (None, [], {}, "") and actual in (None, [], {}, ""):
        return
    if isinstance(expected, str) and any(mark in expected for mark in _ANY_TEXT):
        if not isinstance(actual, str):
            yield f"{path}: expected some text, got {actual!r}"
    elif isinstance(expected, dict) and isinstance(actual, dict):
        for key in sorted(expected.keys() | actual.keys()):
            yield from _value(f"{path}.{key}", expected.get(key), actual.get(key))
    elif isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        for n, (e, a) in enumerate(zip(expected, actual, strict=True)):
            yield from _value(f"{path}[{n}]", e, a)
    elif _plain(expected) != _plain(actual) or isinstance(expected, bool) != isinstance(actual, bool):
        yield f"{path}: expected {expected!r:.120}, got {actual!r:.120}"
