"""What can be wrong with a definition: a problem with its place and what to do."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Collection
from typing import Literal, TypeAlias

from tradewind_server.lang.documents import Path

Severity: TypeAlias = Literal["error", "warning", "hint"]

#: Problems kept of one check; errors may be twice as many, so that warnings never hide the last of them.
MAX_PROBLEMS = 1_000
#: Of a message, a fix or a path.
_MOST_CHARACTERS = 500


@dataclasses.dataclass(frozen=True, slots=True)
class Code:
    """One kind of problem. docs/diagnostics.md has a section for each."""

    #: As it usually is; a report may weaken it.
    severity: Severity
    #: What is wrong, for lists of rules.
    sentence: str
    #: What to do, where a report cannot say it better.
    fix: str = ""


CODES: dict[str, Code] = {
    # the text
    "document-type": Code(
        "error",
        "A document is no mapping with a version and definitions.",
        "Write \"version: '2.0'\" and below it the definitions by name.",
    ),
    "version": Code("error", "The version of the language is missing or unknown."),
    "no-members": Code("error", "A document defines nothing.", "Add a definition."),
    "yaml-syntax": Code(
        "error", "The text is not YAML, or nested too deeply.", "Close what is open here or on the line before."
    ),
    "yaml-tag": Code("error", "A YAML tag is not supported.", "Remove the tag."),
    "yaml-number": Code("error", "A number is one that JSON cannot hold.", "Put it in quotes if it is text."),
    "duplicate-key": Code("error", "A key stands twice in one mapping.", "Remove or rename one."),
    "boolean-key": Code("warning", "YAML 1.1 reads a key like 'on' or 'yes' as a boolean.", "Put it in quotes."),
    "yaml-boolean": Code(
        "warning",
        "YAML 1.1 reads a value like 'yes' or 'off' as a boolean.",
        "Write true or false, or put it in quotes if it is text.",
    ),
    "yaml-integer": Code(
        "warning",
        "YAML 1.1 reads a number like 010 or 1:30 to another base than ten.",
        "Put it in quotes if it is text, or write the number to the base of ten.",
    ),
    # names
    "invalid-name": Code("error", "A definition has a name that it cannot have.", "Choose another name."),
    "name-too-long": Code("error", "The name of a task is too long.", "Shorten it, and say the rest in 'description'."),
    "duplicate-name": Code("error", "Two definitions have the same name."),
    "reserved-name": Code("warning", "A task has the name of an engine command, which wins as a target."),
    "shadowed-name": Code("hint", "A name hides another one that is still meant elsewhere."),
    # keywords and their values
    "unknown-keyword": Code("error", "A keyword does not exist here.", "Remove it."),
    "missing-keyword": Code("error", "A required keyword is missing."),
    "wrong-type": Code("error", "A value has not the shape that its keyword needs.", "Give a value of that shape."),
    "wrong-workflow-type": Code(
        "error", "A keyword does not fit the type of the workflow.", "Change the type of the workflow, or remove it."
    ),
    "exclusive-keywords": Code("error", "Two keywords exclude each other."),
    "duplicate-item": Code("error", "An item stands twice in a list of different ones."),
    "duplicate-input": Code("warning", "An input is declared twice."),
    "odd-input": Code("warning", "An input has a name that looks like a name with a default."),
    "with-items": Code("error", "'with-items' does not name a variable and a list.", "Write 'variable in <% list %>'."),
    "text-input": Code(
        "warning",
        "The input of a task is a text that gives no mapping.",
        "Write a mapping, or one expression that gives one.",
    ),
    "parameter-twice": Code("warning", "A parameter stands inline and in 'input'; the inline one counts."),
    "unused-text": Code("warning", "A piece of inline parameters has no effect."),
    "unused-parameter": Code("warning", "A parameter of a command has no effect."),
    "unused-concurrency": Code(
        "warning", "'concurrency' without 'with-items' has no effect.", "Add 'with-items', or remove it."
    ),
    # expressions
    "expression-syntax": Code("error", "An expression cannot be parsed.", "Mend the expression at this place."),
    "unclosed-expression": Code("warning", "An expression is opened and not closed, so it is plain text."),
    "expression-in-default": Code("warning", "An expression in the default of an input is not evaluated."),
    "expression-in-base": Code(
        "warning", "An expression in the base of an action is not evaluated.", "Name the action."
    ),
    "base-is-itself": Code("warning", "An ad-hoc action is its own base.", "Name the action that does the work."),
    # what is called
    "unknown-action": Code(
        "warning", "A standard action does not exist, or a name is nearly a known one.", "Mend the name."
    ),
    "unknown-form": Code("hint", "A form is neither in the files nor deployed."),
    "unknown-workflow": Code("hint", "A workflow is neither in the files nor deployed."),
    "wrong-parameters": Code(
        "warning", "A call lacks a required input, or gives one that does not exist.", "Mend the name, or remove it."
    ),
    "missing-parameter": Code(
        "hint", "A call of an action lacks a required input, which only an environment can give.", "Give it."
    ),
    # variables
    "unknown-variable": Code("warning", "Nothing in the workflow sets a variable that is read."),
    "unpublished-variable": Code("warning", "A variable is published, but not on a way to where it is read."),
    "other-branch-variable": Code("warning", "A variable of one branch is read in another."),
    "bare-name": Code("warning", "A name is read that is no variable without '$.' or '_.' before it."),
    "unknown-function": Code(
        "warning",
        "An expression calls a function, method, filter or test that does not exist.",
        "Use one that docs/expressions.md lists.",
    ),
    "unknown-task-result": Code(
        "warning", "An expression asks for a task that the workflow does not have.", "Mend the name."
    ),
    "publish-conflict": Code("warning", "A task publishes one variable at two levels.", "Publish it on one level."),
    "unused-publish": Code("warning", "What a clause of task-defaults publishes is not used."),
    # policies
    "short-timeout": Code(
        "warning",
        "A timeout is over before the waits of its task are.",
        "Lengthen it: the waits count, too.",
    ),
    # human tasks
    "form": Code(
        "error", "The form of a human task is no JSON Schema of an object.", "Mend it; nothing is fetched for it."
    ),
    "unknown-separation": Code(
        "error",
        "A human task is to be separate from a task that no person does.",
        "Name a human task of the same workflow.",
    ),
    "impossible-separation": Code(
        "error", "Nobody can do a human task: all its users are excluded.", "Name other users, or a group."
    ),
    "unknown-attachments": Code(
        "error",
        "A human task is to have the attachments of a task that no person does.",
        "Name a human task of the same workflow.",
    ),
    "escalation-order": Code(
        "error", "The escalations of a human task are not in the order in which they come.", "Put them in order."
    ),
    "missing-due": Code(
        "error", "Something counts from when a human task is due, but it never is.", "Add 'due: 2d', or use 'after'."
    ),
    "unknown-expiry-outcome": Code("error", "A human task expires with an outcome that it does not have."),
    "quorum-too-large": Code("error", "A human task asks for more votes than it asks people."),
    "quorum-names": Code(
        "error",
        "A human task needs users by name for its quorum, but asks groups.",
        "Name the users, or count the votes: 'quorum: 2'.",
    ),
    "unknown-quorum-outcome": Code("error", "A quorum names an outcome that its human task does not have."),
    "idle-reminder": Code(
        "warning", "A reminder of a human task comes when there is nothing to remind of.", "Move it, or remove it."
    ),
    "unknown-outcome": Code("warning", "A guard asks for an outcome that its human task does not have."),
    "unhandled-outcome": Code("warning", "An outcome of a human task leads nowhere of its own."),
    # how tasks hang together
    "unknown-task": Code(
        "error", "A transition or requirement names a task that does not exist.", "Add the task, or mend the name."
    ),
    "guard": Code("error", "A guard is not exactly one expression."),
    "transition": Code(
        "error", "A transition is neither a task nor a command.", "Write the name of one task in each item."
    ),
    "no-start-task": Code("error", "Every task waits for another, so none is the first."),
    "requirement-cycle": Code("error", "Tasks require each other in a circle.", "Remove one of these requirements."),
    "unreachable-task": Code("warning", "No way leads to a task."),
    "dead-guard": Code("warning", "A guard always has the same value."),
    "dead-transition": Code("warning", "Nothing happens after 'fail' or 'succeed' in the same list."),
    "join-cardinality": Code(
        "error", "A join waits for more tasks than lead to it.", "Lead more tasks to it, or wait for fewer."
    ),
    "impossible-join": Code("warning", "A join waits for branches that never all come."),
    "join-conflict": Code("warning", "Two branches publish the same variable before their join."),
    "hidden-failure": Code("hint", "A failure of a task is dropped without a trace."),
    "unhandled-failure": Code("hint", "An 'on-error' publishes and leads nowhere, and so handles nothing."),
    "all-failures-hidden": Code("warning", "task-defaults drop every failure of the workflow."),
    "too-many-expressions": Code(
        "error",
        "The expressions of a file are more than can be checked in time.",
        "Spread the definitions over several files.",
    ),
    "too-many-definitions": Code(
        "error",
        "A file has more tasks, workflows and actions than are checked.",
        "Spread the definitions over several files, or run the same task for many items with 'with-items'.",
    ),
    "too-many-problems": Code("warning", "There are more problems than are told."),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """One finding of a check."""

    #: A key of `CODES`; stable.
    code: str
    #: An error refuses the definition; a warning tells of a trap, a hint of something odd.
    severity: Severity
    file: str
    #: Line and column, both from 1.
    line: int
    column: int
    #: `w.tasks.t1.on-success[0]`, shortened if it is long; "" for the whole document.
    path: str
    #: A sentence.
    message: str
    #: What to do, a sentence; "" if there is nothing to say.
    fix: str = ""


class Problems:
    """Collects the problems of one check, not without bound: a file of errors must not fill the memory."""

    def __init__(self) -> None:
        self._found: list[Problem] = []
        self._dropped_count = 0
        #: Names that may still be compared for a "did you mean".
        self._comparisons_left = 20_000

    def has_room(self, severity: Severity) -> bool:
        """Tell whether one more will be kept, and count it if not."""
        self._dropped_count += self.is_full(severity)
        return not self.is_full(severity)

    def is_full(self, severity: Severity) -> bool:
        """Tell whether no more will be kept."""
        return len(self._found) >= (2 * MAX_PROBLEMS if severity == "error" else MAX_PROBLEMS)

    def add(self, problem: Problem) -> None:
        """Keep a problem; ask first whether there is room."""
        self._found.append(problem)

    def withdraw(self, code: str, file: str, places: Collection[tuple[int, int]]) -> None:
        """Take back the problems of a kind at these lines and columns of a file."""
        if places:
            self._found = [
                each
                for each in self._found
                if each.code != code or each.file != file or (each.line, each.column) not in places
            ]

    def suggest(self, name: str, known: Collection[str]) -> str:
        """Suggest the known word that is nearest to *name*, as long as that is cheap."""
        return did_you_mean(name, known) if self._may_compare(known) else ""

    def near(self, name: str, known: Collection[str], cutoff: float = 0.85) -> str:
        """Return a known word that *name* is probably a slip of; "" if none is as like it as *cutoff*."""
        near = difflib.get_close_matches(name, known, n=1, cutoff=cutoff) if self._may_compare(known) else []
        return near[0] if near else ""

    def _may_compare(self, known: Collection[str]) -> bool:
        self._comparisons_left -= len(known)
        return self._comparisons_left >= 0 and len(self._found) < MAX_PROBLEMS

    def in_order(self) -> tuple[Problem, ...]:
        """Return all by place, without repetitions."""
        found = sorted(
            dict.fromkeys(self._found), key=lambda problem: (problem.file, problem.line, problem.column, problem.code)
        )
        if self._dropped_count:
            last = found[-1]
            message = f"Expected at most {MAX_PROBLEMS} problems; {self._dropped_count} more are not told."
            code = "too-many-problems"
            fix = "Mend these and check again."
            found.append(Problem(code, CODES[code].severity, last.file, last.line, last.column, "", message, fix))
        return tuple(found)


def path_text(path: Path) -> str:
    """Write a path as people read it."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def shortened(text: str) -> str:
    """Leave out the middle of a text that holds a long piece of a definition."""
    return text if len(text) <= _MOST_CHARACTERS else f"{text[: _MOST_CHARACTERS - 101]}…{text[-100:]}"


def did_you_mean(name: str, known: Collection[str]) -> str:
    """Suggest the known word that is nearest to *name*, or list them if none is near and they are few."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if near:
        return f"Did you mean '{near[0]}'?"
    return f"Known are: {', '.join(sorted(known))}." if 0 < len(known) <= 40 else ""
