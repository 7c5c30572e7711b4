"""A workload: a definition and how much of it to run, read from a file in `workloads/`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent / "workloads"

#: In the order of the tables; a file that is not named here comes after them.
_ORDER = ("seq10", "par100", "items1000", "one200", "one5000", "hop")

_PAYLOAD_BYTES = 200


@dataclass(frozen=True)
class Goal:
    """What a workload must reach; None means no goal."""

    tasks_per_second: float | None = None
    #: Reached instead of tasks_per_second: so many times the unary echo calls of the same run.
    echo_ratio: float | None = None
    #: By database.
    hop_p50_ms: dict[str, float] | None = None


@dataclass(frozen=True)
class Workload:
    """One file."""

    name: str
    title: str
    workflow: str
    definition: str
    #: Actions that one execution does.
    actions: int
    in_flight: int
    #: Executions of one timed run.
    executions: int
    output: dict[str, Any]
    goal: Goal
    #: Whether the worker notes the time from a result to the next offer of the same execution.
    times_hops: bool

    @cached_property
    def input(self) -> dict[str, Any]:
        """What each execution starts with; it and each result make 200 bytes of JSON."""
        return {"n": 1, "pad": "x" * (_PAYLOAD_BYTES - len('{"n":1,"pad":""}'))}

    @property
    def warm_up(self) -> int:
        """Executions before the first timed run."""
        return max(2, min(self.in_flight, self.executions // 4))


def read(is_quick: bool) -> list[Workload]:
    """Return all workloads, small ones if *is_quick*."""
    return [_read(path, is_quick) for path in sorted(FOLDER.glob("*.yaml"), key=_place)]


def _place(path: Path) -> tuple[int, str]:
    return (_ORDER.index(path.stem) if path.stem in _ORDER else len(_ORDER), path.stem)


def _read(path: Path, is_quick: bool) -> Workload:
    content = yaml.safe_load(path.read_text())
    same = content.get("definition_of")
    definition = content["definition"] if same is None else yaml.safe_load(_path(same).read_text())["definition"]
    return Workload(
        name=path.stem,
        title=content["title"],
        workflow=content["workflow"],
        definition=definition,
        actions=content["actions"],
        in_flight=content["in_flight"],
        executions=content["quick_executions" if is_quick else "executions"],
        output={name: _value(value) for name, value in content["output"].items()},
        goal=Goal(**content.get("goal", {})),
        times_hops=content.get("times_hops", False),
    )


def _path(name: str) -> Path:
    return FOLDER / f"{name}.yaml"


def _value(written: Any) -> Any:
    # A thousand numbers are no reading matter.
    if isinstance(written, dict):
        return list(range(written["from"], written["to"] + 1))
    return written
