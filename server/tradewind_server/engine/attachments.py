"""Files of human tasks: what is told of them, how they name what is shown, and which are there from the start.

The engine knows of a file what it is. What is in it goes beside the event that says so, and nothing is decided by it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from tradewind_server.engine.asked import digest_of, id_of
from tradewind_server.engine.attachment import Attachment
from tradewind_server.engine.decision import Decision
from tradewind_server.engine.policies import TaskError
from tradewind_server.engine.state import HumanTask
from tradewind_server.errors.people import AttachmentsMissing
from tradewind_server.lang.attachments import ANY, MOST_ATTACHMENTS, is_accepted
from tradewind_server.lang.specs import Attachments as Wanted
from tradewind_server.lang.specs import HumanSpec

#: Between the name of what is shown and that of the files that go with it.
_AND = "-"


def with_files(d: Decision, action: int, etag: str, attachments: Sequence[Attachment]) -> str:
    """Return what names what the human task of *action* shows and *attachments*, for the *etag* of the first."""
    if not attachments:
        return etag
    files = [[each.id, each.name, each.content_type, each.size, each.digest, each.uri] for each in attachments]
    return f"{etag}{_AND}{digest_of(d, action, files)}"


def without_files(etag: str) -> str:
    """Return what names what is shown alone."""
    return etag.partition(_AND)[0]


def check_complete(d: Decision, human_task: HumanTask, human: HumanSpec) -> None:
    """See that all files are there without which nobody decides.

    Raises:
        AttachmentsMissing: they are not.
    """
    wanted = human.attachments or ANY
    if missing(human_task, wanted):
        count = wanted.minimum - missing(human_task, wanted)
        raise AttachmentsMissing(minimum=wanted.minimum, human_task=id_of(d, human_task), count=count)


def missing(human_task: HumanTask, wanted: Wanted) -> int:
    """Return how many files it lacks of those without which nobody decides: of the types that it takes."""
    count = sum(is_accepted(each.content_type, wanted.content_types) for each in human_task.attachments)
    return max(0, wanted.minimum - count)


def brought(d: Decision, task: int, index: int, human: HumanSpec) -> list[Attachment]:
    """Return the files that a human task for item *index* of *task* has from the start.

    Raises:
        TaskError: they are too many, since each step of the human task writes what they are.
    """
    found: dict[int, Attachment] = {}
    for source in human.attachments.sources if human.attachments is not None else ():
        for other in _latest(d, source, task, index):
            found.update((each.revision, each) for each in other.attachments)
    if len(found) > MOST_ATTACHMENTS:
        raise TaskError(f"attachments: from must give at most {MOST_ATTACHMENTS} files, but gives {len(found)}")
    return [msgspec.structs.replace(each, id=n) for n, each in enumerate(found.values(), 1)]


def _latest(d: Decision, source: str, task: int, index: int) -> Iterator[HumanTask]:
    """Give the human tasks of the latest round of *source*: of each item one; of the task itself that of its item."""
    state, by_item = d.state, dict[int, HumanTask]()
    is_own = state.tasks[task].name == source
    known = [h for h in state.human_tasks.values() if state.tasks[h.task].name == source]
    if is_own:
        known = [h for h in known if state.actions[h.id].index == index][-1:]
    for human_task in known:
        if human_task.task == known[-1].task:
            by_item[state.actions[human_task.id].index] = human_task
    yield from by_item.values()


def told(d: Decision, human_task: HumanTask) -> list[dict[str, object]]:
    """Return what expressions, and whoever gets the result, know of its files."""
    return [
        {
            "id": f"f{each.id}", "name": each.name, "content_type": each.content_type, "size": each.size,
            "digest": each.digest, "by": each.by, "human_task": id_of(d, human_task),
            **({"uri": each.uri} if each.uri else {}),
        }
        for each in human_task.attachments
    ]  # fmt: skip
