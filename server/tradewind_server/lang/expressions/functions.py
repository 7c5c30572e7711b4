"""The language's own functions, the same for YAQL and Jinja.

Source: `mistral/expressions/std_functions.py`. `json_pp` was removed there and is not here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from tradewind_server.lang import documents, references, values
from tradewind_server.lang.expressions.budget import Budget, plain
from tradewind_server.lang.expressions.problems import Refused
from tradewind_server.lang.expressions.scope import Facts

Function: TypeAlias = Callable[..., object]

#: Their names.
FUNCTIONS = frozenset(
    {"env", "execution", "executions", "task", "tasks", "global", "uuid", "secret"}
    | {"json_dump", "json_parse", "yaml_dump", "yaml_parse"}
)


def language_functions(facts: Facts, budget: Budget) -> dict[str, Function]:
    """Return the functions of one evaluation by name."""
    return {
        "env": facts.env,
        "execution": facts.execution,
        "executions": _executions(facts),
        "task": lambda name=None: facts.task(name),
        "tasks": _tasks(facts),
        "global": facts.global_variable,
        "uuid": facts.uuid,
        "json_dump": lambda data: values.json_dump(plain(data, budget)),
        "json_parse": lambda text: _json_parse(text, budget),
        "yaml_dump": lambda data: _yaml_dump(data, budget),
        "yaml_parse": lambda text: _yaml_parse(text, budget),
        "secret": secret,
    }


def _executions(facts: Facts) -> Function:
    def executions(
        id: str | None = None,
        root_execution_id: str | None = None,
        state: str | None = None,
        from_time: str | None = None,
        to_time: str | None = None,
    ) -> list[dict[str, object]]:
        return facts.executions(id, root_execution_id, state, from_time, to_time)

    return executions


def _tasks(facts: Facts) -> Function:
    def tasks(
        workflow_execution_id: str | None = None, recursive: bool = False, state: str | None = None, flat: bool = False
    ) -> list[dict[str, object]]:
        return facts.tasks(workflow_execution_id, recursive, state, flat)

    return tasks


def secret(name: object) -> str:
    """Return the reference to a secret; its value is put in when the action is handed out.

    Raises:
        Refused: no secret can be called so.
    """
    try:
        return references.reference(str(name))
    except ValueError:
        raise Refused("the name of a secret is 1 to 64 of the characters A-Z a-z 0-9 _ . -") from None


def _refuse_marks(text: str) -> None:
    if references.spells_marks(text):
        raise Refused("it writes the characters of references to secrets by number")


def _json_parse(text: object, budget: Budget) -> object:
    if not isinstance(text, str):
        raise Refused("json_parse() needs a text")
    _refuse_marks(text)
    budget.allocate(4 * len(text))
    try:
        return values.decode(text.encode())
    except (values.ValueProblem, UnicodeEncodeError):
        raise Refused("the text for json_parse() is not JSON") from None


def _yaml_dump(data: object, budget: Budget) -> str:
    text = documents.dump(plain(data, budget))
    # YAML escapes marks: what goes out would be no reference any more
    _refuse_marks(text)
    return text


def _yaml_parse(text: object, budget: Budget) -> object:
    if not isinstance(text, str):
        raise Refused("yaml_parse() needs a text")
    _refuse_marks(text)
    budget.allocate(64 * len(text))
    try:
        return plain(documents.parse(text), budget)
    except documents.YamlProblem:
        raise Refused("the text for yaml_parse() is not YAML") from None
