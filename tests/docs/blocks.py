"""The code blocks of a page, and what an HTML comment above one says should be done with it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: `<!-- save: order.yaml -->`, then a block.
_BLOCK = re.compile(r"(?:^<!-- (?P<directive>[^\n]*?) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S)
_HEADING = re.compile(r"^## (.*)$", re.M)


@dataclass(frozen=True)
class Block:
    """A fenced block of code."""

    language: str
    #: "save", "background", "until" or "".
    directive: str
    #: What the directive says after its colon.
    value: str
    text: str
    line: int
    #: Heading of the chapter that it stands in.
    chapter: str

    def commands(self) -> Iterator[tuple[str, str]]:
        """Give each command of a console block with the output that follows it."""
        for part in re.split(r"^\$ ", self.text, flags=re.M)[1:]:
            command, _, output = part.partition("\n")
            yield command, output


def blocks(page: Path) -> list[Block]:
    """Return the blocks of *page* in their order."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _BLOCK.finditer(text):
        directive, _, value = (match["directive"] or "").partition(":")
        line = text.count("\n", 0, match.start()) + 1
        headings = _HEADING.findall(text, 0, match.start())
        chapter = headings[-1] if headings else ""
        found.append(Block(match["language"], directive.strip(), value.strip(), match["text"], line, chapter))
    return found


def matches(expected: str, found: str) -> bool:
    """Tell whether *found* is what a page shows: … stands for anything, and runs of blanks are alike."""
    parts = [r"\s+".join(re.escape(word) for word in part.split()) for part in expected.split("…")]
    # around an ellipsis blanks may be there or not
    return re.fullmatch(r"\s*" + r".*".join(rf"\s*{part}\s*" for part in parts) + r"\s*", found, re.S) is not None
