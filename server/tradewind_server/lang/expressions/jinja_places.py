"""Where a text of Jinja is wrong: Jinja itself tells no more than a line.

Its parser goes through the text once more, over tokens that carry their offset where it expects their line, and so
tells the offset of the token that it stops at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import jinja2
from jinja2 import nodes
from jinja2.lexer import TokenStream
from jinja2.parser import Parser

from tradewind_server.lang.expressions.jinja_sandbox import sandbox
from tradewind_server.lang.expressions.problems import ExpressionSyntaxError

#: How the lexer ends a message: the offset is told as a place.
_AT = re.compile(r" at \d+$")
_LEFT_OPEN = re.compile(r"needs to be closed is '(\w+)'")


class _Tokens:
    """The tokens of a text, each with its offset for a line."""

    def __init__(self, text: str) -> None:
        # the lexer makes one character of this end of a line
        self._text = text.replace("\r\n", " \n")
        self.start = self._end = 0
        self._tags: list[tuple[str, int]] = []

    def __iter__(self) -> Iterator[tuple[int, str, str]]:
        before = ""
        for _, kind, piece in sandbox().lexer.tokeniter(self._text, None):
            # `{%-` takes away blanks before it, which are in no token then
            self.start = max(self._end, self._text.find(piece, self._end))
            self._end = self.start + len(piece)
            if before == "block_begin" and kind == "name":
                self._tags.append((piece, self.start))
            before = before if kind == "whitespace" else kind
            yield self.start, kind, piece
        self.start = max(0, len(self._text.rstrip()) - 1)
        self._end = len(self._text)

    def left_open(self, name: str) -> int:
        """Return where the last block called *name* is opened that is not closed."""
        closed = 0
        for tag, start in reversed(self._tags):
            closed += (tag == f"end{name}") - (tag == name)
            if closed < 0:
                return start
        return self.start

    def behind(self) -> int:
        """Return where the first sign behind the last token is."""
        return len(self._text) - len(self._text[self._end :].lstrip())


def syntax_error(text: str, problem: Exception) -> ExpressionSyntaxError:
    """Return what is wrong with *text*, which *problem* came of, and where."""
    if isinstance(problem, RecursionError):
        return ExpressionSyntaxError("the expression is nested too deeply")
    message = str(getattr(problem, "message", None) or "it is no expression").rstrip(".")
    return ExpressionSyntaxError(_AT.sub("", message[:1].lower() + message[1:]), lambda: _offset(text))


def parse_placed(text: str) -> nodes.Template:
    """Parse a text, which can be parsed, with the offset of each node for its line."""
    return _parsed(_Tokens(text))


def _parsed(tokens: _Tokens) -> nodes.Template:
    parser = Parser(sandbox(), "")
    parser.stream = TokenStream(sandbox().lexer.wrap(_told_by_place(tokens)), None, None)
    return parser.parse()


def _offset(text: str) -> int:
    tokens = _Tokens(text)
    try:
        _parsed(tokens)
    except jinja2.TemplateSyntaxError as problem:
        message = str(problem.message)
        if "end of template" not in message:
            return problem.lineno
        block = _LEFT_OPEN.search(message)
        return tokens.left_open(block[1]) if block is not None else tokens.start
    except (RecursionError, ValueError):
        return tokens.start
    return 0


def _told_by_place(tokens: _Tokens) -> Iterator[tuple[int, str, str]]:
    """Give the tokens; what the lexer itself stops at is behind the last one."""
    try:
        yield from tokens
    except jinja2.TemplateSyntaxError as problem:
        raise jinja2.TemplateSyntaxError(str(problem.message), tokens.behind()) from None
