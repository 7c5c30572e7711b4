"""Human tasks: who may do them at all, and what follows each of their outcomes."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator

from tradewind_server.lang.analysis.subjects import Workflow
from tradewind_server.lang.documents import Path
from tradewind_server.lang.durations import Duration, duration_of
from tradewind_server.lang.expressions import Template
from tradewind_server.lang.graph import clauses
from tradewind_server.lang.named_forms import parts_of
from tradewind_server.lang.specs import HumanSpec, TaskSpec
from tradewind_server.lang.transitions import places

#: A comparison of an outcome with a name, in YAQL or Jinja.
_COMPARISON = re.compile(r"\boutcome\s*(?:==?|!=)\s*(?:'([\w-]+)'|\"([\w-]+)\"|([\w-]+))")
_WORD = re.compile(r"[\w-]+")
#: A guard with one of these speaks of outcomes that it does not name.
_NEGATION = re.compile(r"!=|\bnot\b")
_FOLLOWS_A_DECISION = ("on-success", "on-complete")


@dataclasses.dataclass(frozen=True, slots=True)
class Forms:
    """The forms that human tasks can name."""

    #: Of the files.
    names: frozenset[str]
    #: Tells whether another one is deployed.
    is_deployed: Callable[[str], bool]


def check(workflow: Workflow, forms: Forms) -> None:
    """Report what is odd about the human tasks of *workflow*."""
    human = [task for task in workflow.spec.tasks.values() if task.human is not None]
    if not human:
        return
    words = frozenset(word for text in _expressions(workflow) for word in _WORD.findall(text))
    for task in human:
        assert task.human is not None
        path = (*workflow.task_path(task.name), "human")
        if workflow.gaps.has_in(task.name, "human"):
            continue
        _check_form(workflow, task.human, path, forms)
        _check_separation(workflow, task, task.human, path)
        _check_attachments(workflow, task.human, path)
        _check_quorum(workflow, task, task.human, path)
        _check_deadlines(workflow, task, task.human, path)
        _check_guards(workflow, task, task.human)
        if not workflow.gaps.may_act(task.name):
            _check_handled(workflow, task, task.human, path, words)


def _expressions(workflow: Workflow) -> Iterator[str]:
    """Give every text with an expression in it."""
    yield from set().union(*workflow.gaps.own.values())
    templates = [use.template for uses in workflow.uses.values() for use in uses]
    templates += [each for each in (workflow.spec.output, workflow.spec.output_on_error) if each is not None]
    for template in templates:
        for _, text in template.texts():
            yield str(text.source)


def _check_form(workflow: Workflow, human: HumanSpec, path: Path, forms: Forms) -> None:
    """Report a form that is neither in the files nor deployed; a version can only be deployed."""
    name, version = parts_of(human.form_name)
    member = f"{workflow.spec.workbook}.{human.form_name}" if workflow.spec.workbook else human.form_name
    if not name or (not version and not forms.names.isdisjoint({name, member})):
        return
    if not any(map(forms.is_deployed, {human.form_name, member})):
        message = f"Expected form '{human.form_name}' in the files or deployed already, but it is not found."
        near = workflow.reader.problems.near(name, forms.names)
        fix = f"Did you mean '{near}'?" if near and not version else "Deploy it before this one runs."
        workflow.reader.report_name("unknown-form", (*path, "form"), human.form_name, message, fix)


def _check_separation(workflow: Workflow, task: TaskSpec, human: HumanSpec, path: Path) -> None:
    tasks = workflow.spec.tasks
    for name in human.separate_from.tasks:
        if name in tasks and workflow.gaps.has_in(name):
            continue
        if name not in tasks or tasks[name].human is None or name == task.name:
            what = "is the task itself" if name == task.name else "is none" if name in tasks else "does not exist"
            message = f"Expected another human task to be separate from, but '{name}' {what}."
            known = [other.name for other in tasks.values() if other.human is not None and other is not task]
            workflow.reader.report_name(
                "unknown-separation",
                (*path, "separate_from"),
                name,
                message,
                workflow.reader.problems.suggest(name, known),
            )
    users = _constant_names(human.users)
    excluded = {name for template in human.separate_from.users for name in _constant_names(template)}
    if users and users <= excluded and human.groups is None and not _has_fallback(human):
        message = f"Expected somebody who may do '{task.name}', but all its users are excluded by 'separate_from'."
        workflow.reader.report("impossible-separation", (*path, "separate_from"), message)


def _check_attachments(workflow: Workflow, human: HumanSpec, path: Path) -> None:
    people = [other.name for other in workflow.spec.tasks.values() if other.human is not None]
    for name in human.attachments.sources if human.attachments is not None else ():
        if name not in people:
            what = "is none" if name in workflow.spec.tasks else "does not exist"
            message = f"Expected a human task to have attachments from, but '{name}' {what}."
            fix = workflow.reader.problems.suggest(name, people)
            workflow.reader.report_name("unknown-attachments", (*path, "attachments"), name, message, fix)


def _check_quorum(workflow: Workflow, task: TaskSpec, human: HumanSpec, path: Path) -> None:
    quorum, place = human.quorum, (*path, "quorum")
    if quorum is None:
        return
    known = [outcome.name for outcome in human.outcomes]
    for name in (*quorum.veto, *filter(None, [quorum.otherwise])):
        if name not in known:
            message = f"Expected an outcome of '{task.name}', but '{name}' is none."
            fix = workflow.reader.problems.suggest(name, known)
            workflow.reader.report("unknown-quorum-outcome", place, message, fix)
    if _asks_groups(human):
        if quorum.votes is None or quorum.is_sequential:
            what = "they vote one after the other" if quorum.is_sequential else "all have to vote"
            message = f"Expected only users in '{task.name}', where {what}, but it asks groups."
            workflow.reader.report("quorum-names", place, message, at_value=False)
        return
    _check_quorum_size(workflow, task, human, place)


def _asks_groups(human: HumanSpec) -> bool:
    return not (human.groups is None and human.groups_by is None and human.fallback_groups is None)


def _check_quorum_size(workflow: Workflow, task: TaskSpec, human: HumanSpec, place: Path) -> None:
    """Report more votes than there are users, as far as the text says both."""
    votes = human.quorum.votes if human.quorum is not None else None
    if votes is None or not votes.is_constant or human.users is None or not human.users.is_constant:
        return
    excluded = {name for template in human.separate_from.users for name in _constant_names(template)}
    users = _constant_names(human.users) - excluded
    if isinstance(votes.source, int) and votes.source > len(users) and not _has_fallback(human):
        message = (
            f"Expected at most {len(users)} votes in '{task.name}', since so many users have one, but its quorum is "
        )
        fix = "Ask more users, or lower the quorum."
        workflow.reader.report("quorum-too-large", place, f"{message}{votes.source}.", fix)


def _check_deadlines(workflow: Workflow, task: TaskSpec, human: HumanSpec, path: Path) -> None:
    reader, expire = workflow.reader, human.expire
    if human.due is None and any(reminder.before_due is not None for reminder in human.remind):
        message = f"Expected '{task.name}' to have 'due', since 'remind' counts from there."
        reader.report("missing-due", (*path, "remind"), message, at_value=False)
    elif human.due is None and expire is not None and expire.after is None:
        message = f"Expected '{task.name}' to have 'due', since it is to expire then."
        reader.report("missing-due", (*path, "expire"), message, at_value=False)
    known = [outcome.name for outcome in human.outcomes]
    if expire is not None and expire.outcome and expire.outcome not in known:
        message = f"Expected an outcome of '{task.name}', but '{expire.outcome}' is none."
        fix = reader.problems.suggest(expire.outcome, known)
        reader.report("unknown-expiry-outcome", (*path, "expire", "outcome"), message, fix)
    due, end = _constant_duration(human.due), _end_of(human)
    for reminder in human.remind:
        before, after = _constant_duration(reminder.before_due), _constant_duration(reminder.after)
        if before and due and (before == due or due.is_before(before)):
            message = f"Expected a reminder while '{task.name}' is open, but this one comes before anybody is asked."
            reader.report("idle-reminder", (*path, "remind"), message, at_value=False)
        elif after and end and (after == end or end.is_before(after)):
            message = f"Expected a reminder while '{task.name}' is open, but this one comes after it has expired."
            reader.report("idle-reminder", (*path, "remind"), message, at_value=False)


def _end_of(human: HumanSpec) -> Duration | None:
    """Return how long it is open at most, if the text says so."""
    if human.expire is None:
        return None
    return _constant_duration(human.due if human.expire.after is None else human.expire.after)


def _constant_duration(template: Template | None) -> Duration | None:
    return duration_of(template.source) if template is not None and template.is_constant else None


def _constant_names(template: Template | None) -> set[str]:
    if template is None or not template.is_constant:
        return set()
    source = template.source
    return {source} if isinstance(source, str) else {name for name in source} if isinstance(source, list) else set()


def _has_fallback(human: HumanSpec) -> bool:
    return human.fallback_users is not None or human.fallback_groups is not None


def _check_guards(workflow: Workflow, task: TaskSpec, human: HumanSpec) -> None:
    known = [outcome.name for outcome in human.outcomes]
    path = workflow.task_path(task.name)
    for keyword, clause in clauses(task):
        where = places(workflow.reader, clause, (*path, keyword))
        for transition, place in zip(clause.next, where, strict=True):
            for match in _COMPARISON.finditer(_text(transition.guard)):
                name = next(filter(None, match.groups()))
                if name not in known:
                    message = f"Expected an outcome of '{task.name}', but '{name}' is none."
                    fix = workflow.reader.problems.suggest(name, known)
                    workflow.reader.report("unknown-outcome", place, message, fix, offset=match.start())


def _text(template: Template | None) -> str:
    return template.source if template is not None and isinstance(template.source, str) else ""


def _check_handled(workflow: Workflow, task: TaskSpec, human: HumanSpec, path: Path, words: frozenset[str]) -> None:
    """Report outcomes after which nothing happens that would not happen after another."""
    if len(human.outcomes) < 2 or workflow.spec.type == "reverse":
        return
    guards = [
        _text(transition.guard)
        for keyword, clause in clauses(task)
        if keyword in _FOLLOWS_A_DECISION
        for transition in clause.next
    ]
    if any(_NEGATION.search(guard) for guard in guards) or ("" in guards and "outcome" in words):
        return
    for outcome in human.outcomes:
        if outcome.name not in words:
            message = (
                f"Expected something to follow the outcome '{outcome.name}' of '{task.name}', but nothing asks for it."
            )
            fix = f"Add to 'on-success': \"- TASK: <% task().result.outcome = '{outcome.name}' %>\"."
            workflow.reader.report("unhandled-outcome", (*path, "outcomes"), message, fix, at_value=False)
