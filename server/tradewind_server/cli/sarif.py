"""Problems in the form that code hosts and editors read: SARIF 2.1.0."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from tradewind import values
from tradewind_server import __version__, lang
from tradewind_server.lang.problems import CODES

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_PAGE = "https://github.com/tradewind/tradewind/blob/main/docs/diagnostics.md"
_LEVELS = {"error": "error", "warning": "warning", "hint": "note"}


def log(problems: Sequence[lang.Problem]) -> values.Value:
    """Return a log with one run. Every code is a rule of it, so that a code which is gone counts as mended."""
    numbers = {code: number for number, code in enumerate(CODES)}
    driver = {
        "name": "tradewind check",
        "version": __version__,
        "informationUri": _PAGE,
        "rules": [
            {
                "id": code,
                "shortDescription": {"text": about.sentence},
                "helpUri": f"{_PAGE}#{code}",
                "defaultConfiguration": {"level": _LEVELS[about.severity]},
            }
            for code, about in CODES.items()
        ],
    }
    results = [_result(problem, numbers[problem.code]) for problem in problems]
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "newlineSequences": ["\r\n", "\n", "\r"],
        "results": results,
    }
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}


def _result(problem: lang.Problem, rule: int) -> values.Value:
    place = {
        "artifactLocation": {"uri": quote(problem.file)},
        "region": {"startLine": problem.line, "startColumn": problem.column},
    }
    return {
        "ruleId": problem.code,
        "ruleIndex": rule,
        "level": _LEVELS[problem.severity],
        "message": {"text": f"{problem.message} {problem.fix}".rstrip()},
        "locations": [
            {"physicalLocation": place, "logicalLocations": [{"fullyQualifiedName": problem.path or problem.file}]}
        ],
    }
