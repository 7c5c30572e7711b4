"""`attachments` of a human task: how many files, of which types, and what is there from the start.

This is Tradewind's own addition to the language.
"""

from __future__ import annotations

import re
from typing import Any

from tradewind_server.lang.documents import Path
from tradewind_server.lang.reader import Keyword, Reader, Shape, table_schema
from tradewind_server.lang.shapes import TEXT_OR_TEXTS, names_shape
from tradewind_server.lang.specs import Attachments

#: Where a definition says nothing.
ANY = Attachments()
#: Files of one human task, whatever a definition says.
MOST_ATTACHMENTS = 200
#: RFC 6838, of small letters; parameters say nothing that a rule could need.
_NAME = r"[a-z0-9][a-z0-9!#$&^_.+-]{0,62}"
CONTENT_TYPE = re.compile(rf"{_NAME}/{_NAME}")
_ACCEPTED = re.compile(rf"{_NAME}/(\*|{_NAME})")


def is_accepted(content_type: str, accepted: tuple[str, ...]) -> bool:
    """Tell whether one of *accepted* takes *content_type*; none of them takes any."""
    kind = content_type.partition("/")[0]
    return not accepted or content_type in accepted or f"{kind}/*" in accepted


def _read_count(reader: Reader, value: object, path: Path) -> object:
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_ATTACHMENTS
    return value if is_count else reader.wrong(path, value, _COUNT.expected)


_COUNT = Shape(
    f"a whole number from 0 to {MOST_ATTACHMENTS}",
    _read_count,
    {"type": "integer", "minimum": 0, "maximum": MOST_ATTACHMENTS},
)


_TYPES = names_shape("a media type in small letters, such as application/pdf or image/*, or a list of these", _ACCEPTED)
_ATTACHMENTS = {
    "minimum": Keyword(_COUNT),
    "maximum": Keyword(_COUNT),
    "content_types": Keyword(_TYPES),
    "from": Keyword(TEXT_OR_TEXTS),
}


def _read_attachments(reader: Reader, value: object, path: Path) -> object:
    parts: dict[str, Any] = reader.table(value, path, _ATTACHMENTS, "attachments")
    minimum, maximum = parts.get("minimum", 0), parts.get("maximum")
    if maximum is not None and minimum > maximum:
        reader.wrong((*path, "maximum"), maximum, f"at least the minimum, {minimum}")
    return Attachments(minimum, maximum, parts.get("content_types", ()), parts.get("from", ()))


ATTACHMENTS_SHAPE = Shape(
    "'minimum', 'maximum', 'content_types' and 'from'", _read_attachments, table_schema(_ATTACHMENTS)
)
