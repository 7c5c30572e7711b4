"""Regular expressions of YAQL on google-re2: linear in the text, whatever the pattern.

Look-ahead, look-behind and back-references do not exist there; such a pattern is refused.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import re2

from tradewind_server.lang.expressions import yaql_face as face
from tradewind_server.lang.expressions.problems import Refused
from tradewind_server.lang.references import spells_marks

_MAX_PATTERN = 1_000
#: 1 MiB of program: enough for [a-z]{1000}, not for nested counted repetitions.
_MAX_PROGRAM_BYTES = 1024 * 1024
_REGEX = type(re2.compile("a"))


@functools.lru_cache(maxsize=1_000)
def _compiled(pattern: str, flags: str = "") -> Any:
    if len(pattern) > _MAX_PATTERN:
        raise Refused(f"a regular expression has more than {_MAX_PATTERN} characters")
    options = re2.Options()
    options.max_mem = _MAX_PROGRAM_BYTES
    options.log_errors = False
    try:
        return re2.compile(f"(?{flags}){pattern}" if flags else pattern, options)
    except re2.error:
        raise Refused(
            "a regular expression cannot be compiled (look-around and back-references are not supported)"
        ) from None


def define_functions(made: object) -> None:
    """Register regex(), matches(), =~ and their like."""
    regex = face.python_type(_REGEX)
    with_regex = {"regexp": regex, "string": face.TEXT}
    with_text = {"pattern": face.TEXT, "string": face.TEXT}
    face.define(made, "regex", _regex, pattern=face.TEXT)
    face.define(made, "matches", lambda regexp, string: _found(regexp, string), True, **with_regex)
    face.define(made, "matches", lambda string, pattern: _found(_compiled(pattern), string), True, **with_text)
    face.define(made, "#operator_=~", lambda string, regexp: _found(regexp, string), **with_regex)
    face.define(made, "#operator_=~", lambda string, pattern: _found(_compiled(pattern), string), **with_text)
    face.define(made, "#operator_!~", lambda string, regexp: not _found(regexp, string), **with_regex)
    face.define(made, "#operator_!~", lambda string, pattern: not _found(_compiled(pattern), string), **with_text)
    face.define(made, "search", _search, True, selector=face.LAMBDA_IN_CONTEXT, **with_regex)
    face.define(made, "searchAll", _search_all, True, selector=face.LAMBDA_IN_CONTEXT, **with_regex)
    face.define(made, "split", _split, True, max_split=face.INTEGER, **with_regex)
    face.define(made, "split", _split_text, True, max_split=face.INTEGER, **with_regex)
    face.define(made, "replace", _replace, True, repl=face.TEXT, count=face.INTEGER, **with_regex)
    face.define(made, "replace", _replace_text, True, repl=face.TEXT, count=face.INTEGER, **with_regex)
    face.define(made, "replaceBy", _replace_by, True, repl=face.LAMBDA_IN_CONTEXT, count=face.INTEGER, **with_regex)
    face.define(
        made, "replaceBy", _replace_text_by, True, repl=face.LAMBDA_IN_CONTEXT, count=face.INTEGER, **with_regex
    )
    face.define(made, "escapeRegex", lambda string: re2.escape(string), string=face.TEXT)
    face.define(made, "isRegex", lambda value: isinstance(value, _REGEX))


def _regex(pattern: str, ignore_case: bool = False, multi_line: bool = False, dot_all: bool = False) -> Any:
    return _compiled(pattern, "i" * ignore_case + "m" * multi_line + "s" * dot_all)


def _found(regexp: Any, string: str) -> bool:
    return regexp.search(string) is not None


def _search(context: Any, regexp: Any, string: str, selector: Callable[[Any], object] | None = None) -> object:
    match = regexp.search(string)
    if match is None:
        return None
    return match.group() if selector is None else selector(_published(context, match))


def _search_all(
    engine: face.Evaluation,
    context: Any,
    regexp: Any,
    string: str,
    selector: Callable[[Any], object] | None = None,
) -> Iterator[object]:
    for match in regexp.finditer(string):
        engine.budget.step()
        yield match.group() if selector is None else selector(_published(context, match))


def _published(context: Any, match: Any) -> Any:
    """Set $1 to the whole match, $2 and on to the groups, and the named ones."""
    child = context.create_child_context()
    child["$1"] = _record(match, 0)
    for number in range(1, len(match.groups()) + 1):
        child[f"${number + 1}"] = _record(match, number)
    for name, number in match.re.groupindex.items():
        child[f"${name}"] = _record(match, number)
    return child


def _record(match: Any, group: int) -> object:
    return face.FrozenDict({"value": match.group(group), "start": match.start(group), "end": match.end(group)})


def _split(regexp: Any, string: str, max_split: int = 0) -> list[str]:
    return list(regexp.split(string, max_split))


def _split_text(string: str, regexp: Any, max_split: int = 0) -> list[str]:
    return list(regexp.split(string, max_split))


def _replace(engine: face.Evaluation, regexp: Any, string: str, repl: str, count: int = 0) -> object:
    # Each match may put in the text once, and groups as often as it names them.
    matches = sum(1 for _ in regexp.finditer(string))
    engine.budget.allocate(len(string) * (1 + repl.count("\\")) + matches * len(repl))
    if spells_marks(repl):
        raise Refused("a replacement writes the characters of references to secrets by number")
    return regexp.sub(repl, string, count)


def _replace_text(engine: face.Evaluation, string: str, regexp: Any, repl: str, count: int = 0) -> object:
    return _replace(engine, regexp, string, repl, count)


def _replace_by(
    engine: face.Evaluation, context: Any, regexp: Any, string: str, repl: Callable[[Any], object], count: int = 0
) -> object:
    def replacement(match: Any) -> str:
        engine.budget.step()
        text = repl(_published(context, match))
        if not isinstance(text, str):
            raise Refused("replaceBy() needs texts to put in")
        engine.budget.allocate(len(text))
        return text

    return regexp.sub(replacement, string, count)


def _replace_text_by(
    engine: face.Evaluation, context: Any, string: str, regexp: Any, repl: Callable[[Any], object], count: int = 0
) -> object:
    return _replace_by(engine, context, regexp, string, repl, count)
