"""A file of a human task, as the engine knows it: what it is, and never what is in it."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Attachment(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One file that belongs to a human task, or a reference to one that is kept elsewhere."""

    name: str
    content_type: str
    #: Bytes.
    size: int
    #: "sha256:" and 64 hexadecimal digits.
    digest: str
    #: Where it is kept; "": here.
    uri: str = ""
    #: Number within its human task, from 1; numbers of withdrawn ones are not given again.
    id: int = 0
    #: Who added it, and when.
    by: str = ""
    at: datetime = _EPOCH
    #: Revision of the event that says so: the file stands under it.
    revision: int = 0

    def is_same(self, other: Attachment) -> bool:
        """Tell whether *other* is the same file, whoever added it."""
        mine = (self.name, self.content_type, self.size, self.digest, self.uri)
        return mine == (other.name, other.content_type, other.size, other.digest, other.uri)
