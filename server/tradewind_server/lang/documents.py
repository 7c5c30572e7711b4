"""YAML text to plain values with a place for every key and item, and back.

YAML 1.1 as Mistral reads it, hardened: `&`, `*` and `@` are ordinary text (no expansion attacks), decimals
keep their digits, dates stay text, keys are always text, and there are limits on size and depth.

Source: `mistral/utils/safe_yaml.py`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import TypeAlias

import yaml

from tradewind_server.lang import numbers
from tradewind_server.lang.lines import BYTE_ORDER_MARK, Lines, Place
from tradewind_server.lang.values import MAX_DEPTH, Value
from tradewind_server.lang.yaml_problems import QUOTE_EXPRESSION, syntax_problem

#: Characters of one definition file.
MAX_SIZE = 1024 * 1024

#: Keys and list positions from the top of a document.
Path: TypeAlias = tuple[str | int, ...]

_TAG = "tag:yaml.org,2002:"
#: Octal, or to the base 60; 0x and 0b say so themselves.
_OTHER_BASE = re.compile(r"[-+]?(0[0-7_]|[0-9_]+:)")
#: libyaml cannot be told to read these as text, hence the slower Python reader where they may start a token.
_ANCHOR_OR_ALIAS = re.compile(r"(?:^|[\s\[{,])[&*]\S")


@dataclasses.dataclass(slots=True)
class Document:
    """One YAML document."""

    value: Value
    #: Of each mapping entry where its key stands, of each list item itself. Places are made when asked for: few are.
    marks: dict[Path, yaml.Mark]
    #: Of each mapping entry and list item where its value stands.
    value_marks: dict[Path, yaml.Mark]
    #: Of the whole text.
    lines: Lines
    #: The definitions, by one key or two, for which something is written that is not in *value*; () for all.
    lost: set[Path]

    def place(self, path: Path) -> Place:
        """Return the place of the entry at *path*, or of the nearest one around it."""
        return self._nearest(self.marks, path)

    def value_place(self, path: Path) -> Place:
        """Return the place of the value at *path*, or of the nearest entry around it."""
        return self._nearest(self.value_marks, path)

    def _nearest(self, marks: dict[Path, yaml.Mark], path: Path) -> Place:
        while path and path not in marks:
            path = path[:-1]
        return self.lines.place(marks[path].index) if path in marks else Place(1, 1)


_DEEPER = f"it is nested deeper than {MAX_DEPTH} levels"
_NEST_LESS = "Nest it less deeply."
#: What a definition must not hold, or should not, though every reader of YAML takes it.
TOLD_ONLY = frozenset({"duplicate-key", "boolean-key", "yaml-boolean", "yaml-integer"})
#: After these a part of the text has no value.
_LOSES = frozenset({"duplicate-key", "yaml-tag", "yaml-syntax"})


class YamlProblem(ValueError):
    """A text is not YAML that we take; *message* is a clause."""

    def __init__(self, message: str, place: Place, path: Path = (), code: str = "yaml-syntax", fix: str = "") -> None:
        self.message = message
        #: What to do, if the code does not say it well enough.
        self.fix = fix
        self.place = place
        self.path = path
        self.code = code
        super().__init__(f"{message} (line {place.line}, column {place.column})")


class _TextLoader(yaml.SafeLoader):
    """Reads anchors, aliases and a leading @ as plain text."""

    def fetch_alias(self) -> None:
        self.fetch_plain()

    def fetch_anchor(self) -> None:
        self.fetch_plain()

    def check_plain(self) -> bool:
        return bool(self.peek() == "@" or super().check_plain())


def load(text: str) -> tuple[list[Document], list[YamlProblem]]:
    """Read all documents of a text, as far as they can be read, and tell what is wrong with it."""
    if len(text) > MAX_SIZE:
        return [], [YamlProblem(f"the text has more than {MAX_SIZE} characters", Place(1, 1))]
    text = text.removeprefix(BYTE_ORDER_MARK)
    lines = Lines(text)
    problems: list[YamlProblem] = []
    try:
        nodes = _compose(text)
    except yaml.YAMLError as problem:
        found = syntax_problem(problem, text, lines)
        return [], [YamlProblem(found.message, found.place, fix=found.fix)]
    except _TooDeep as problem:
        return [], [YamlProblem(_DEEPER, lines.place(problem.index), fix=_NEST_LESS)]
    except RecursionError:  # the slower reader, of brackets within indented lines
        return [], [YamlProblem(_DEEPER, Place(1, 1), fix=_NEST_LESS)]
    except ValueError:
        return [], [YamlProblem("it holds a broken value", Place(1, 1))]
    documents = [_Builder(problems, lines).build(node) for node in nodes]
    return documents, problems


def parse(text: str) -> Value:
    """Read the value of a text with one document; of duplicate keys the last wins.

    Raises:
        YamlProblem: it cannot be read.
    """
    documents, problems = load(text)
    for problem in problems:
        if problem.code not in TOLD_ONLY:
            raise problem
    if len(documents) > 1:
        raise YamlProblem("it has more than one document", Place(1, 1))
    return documents[0].value if documents else None


def _compose(text: str) -> list[yaml.Node]:
    if _ANCHOR_OR_ALIAS.search(text) is None:
        try:
            _refuse_depth(text, yaml.CSafeLoader)
            return list(_nodes(text, yaml.CSafeLoader))
        except yaml.YAMLError:
            if not any(sign in text for sign in "&*@"):
                raise
    _refuse_depth(text, _TextLoader)
    return list(_nodes(text, _TextLoader))


_BLOCK_PREFIX = re.compile(rf"^[ ?-]{{{MAX_DEPTH}}}", re.MULTILINE)


class _TooDeep(Exception):
    def __init__(self, index: int) -> None:
        #: Of the first sign of what is too deep.
        self.index = index


def _refuse_depth(text: str, loader_class: type[yaml.CSafeLoader] | type[yaml.SafeLoader]) -> None:
    """Raise _TooDeep for deep nesting: libyaml's composer recurses in C until the process dies.

    Reading the events costs as much as composing, so it is done only where signs allow such a depth.
    """
    if text.count("[") + text.count("{") <= MAX_DEPTH and _BLOCK_PREFIX.search(text) is None:
        return
    depth = 0
    for event in yaml.parse(text, loader_class):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH + 1:
            raise _TooDeep(event.start_mark.index if event.start_mark is not None else 0)


def _nodes(text: str, loader_class: type[yaml.CSafeLoader] | type[yaml.SafeLoader]) -> Iterator[yaml.Node]:
    loader = loader_class(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            if node is not None:
                yield node
    finally:
        loader.dispose()


class _Builder:
    """Makes one document of its nodes."""

    def __init__(self, problems: list[YamlProblem], lines: Lines) -> None:
        self._problems = problems
        self._lines = lines
        self._marks: dict[Path, yaml.Mark] = {}
        self._value_marks: dict[Path, yaml.Mark] = {}
        self._lost: set[Path] = set()

    def build(self, node: yaml.Node) -> Document:
        self._marks[()] = node.start_mark
        return Document(self._value(node, ()), self._marks, self._value_marks, self._lines, self._lost)

    def _value(self, node: yaml.Node, path: Path) -> Value:
        self._value_marks[path] = node.start_mark
        if len(path) > MAX_DEPTH:
            self._report(node, path, _DEEPER, "yaml-syntax", _NEST_LESS)
            return None
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return self._sequence(node, path)
        if isinstance(node, yaml.ScalarNode):
            if node.tag == _TAG + "bool" and node.value.lower() not in ("true", "false"):
                meaning = "true" if _is_true(node.value) else "false"
                self._report(node, path, f"'{node.value}' is read as {meaning}", "yaml-boolean")
            return self._scalar(node, path)
        self._report(node, path, f"the tag '{node.tag}' is not supported", "yaml-tag")
        return None

    def _sequence(self, node: yaml.SequenceNode, path: Path) -> list[Value]:
        items = []
        for index, child in enumerate(node.value):
            place = (*path, index)
            self._marks[place] = child.start_mark
            items.append(self._value(child, place))
        return items

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Value]:
        merged: dict[str, Value] = {}
        own: dict[str, Value] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _TAG + "merge":
                merged |= self._merged(value_node, path)
                continue
            key = self._key(key_node, path)
            place = (*path, key)
            if key in own:
                first = self._lines.place(self._marks[place].index).line
                self._report(key_node, place, f"the key '{key}' is there twice, first on line {first}", "duplicate-key")
            self._marks[place] = key_node.start_mark
            own[key] = self._value(value_node, place)
        return {**merged, **own} if merged else own

    def _merged(self, node: yaml.Node, path: Path) -> dict[str, Value]:
        """Read what stands after `<<`: a mapping, or a list of them of which the first wins."""
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and all(isinstance(child, yaml.MappingNode) for child in node.value):
            merged: dict[str, Value] = {}
            for child in reversed(node.value):
                merged |= self._mapping(child, path)
            return merged
        self._report(node, path, "'<<' needs a mapping", "yaml-syntax")
        return {}

    def _key(self, node: yaml.Node, path: Path) -> str:
        if not isinstance(node, yaml.ScalarNode):
            fix = QUOTE_EXPRESSION if isinstance(node, yaml.MappingNode) and node.flow_style else ""
            self._report(node, path, "a key has to be text", "yaml-syntax", fix)
            return str(node.start_mark.index)
        if node.tag == _TAG + "bool":
            self._report(
                node, path, f"the key '{node.value}' is read as a boolean, quote it if it is text", "boolean-key"
            )
        value = self._scalar(node, path)
        if isinstance(value, bool):
            return "true" if value else "false"
        if value is None:
            return "null"
        return numbers.text(value) if isinstance(value, Decimal) else str(value)

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> Value:
        kind = node.tag.removeprefix(_TAG)
        try:
            if kind in ("str", "timestamp", "value", "merge", "binary"):
                return str(node.value)
            if kind == "null":
                return None
            if kind == "bool":
                return _is_true(node.value)
            if kind == "int":
                return self._integer(node, path)
            if kind == "float":
                return _decimal(node.value)
        except (ValueError, numbers.NumberProblem):
            self._report(node, path, f"'{node.value[:40]}' is no number that JSON can hold", "yaml-number")
            return None
        self._report(node, path, f"the tag '{node.tag}' is not supported", "yaml-tag")
        return None

    def _integer(self, node: yaml.ScalarNode, path: Path) -> int:
        value = _integer(node.value)
        if _OTHER_BASE.match(node.value):
            self._report(node, path, f"'{node.value[:40]}' is read as the number {value}", "yaml-integer")
        return value

    def _report(self, node: yaml.Node, path: Path, message: str, code: str, fix: str = "") -> None:
        if code in _LOSES:
            self._lost |= {path[:1], path[:2]}
        self._problems.append(YamlProblem(message, self._lines.place(node.start_mark.index), path, code, fix))


def _is_true(text: str) -> bool:
    return text.lower() in ("yes", "true", "on")


def _integer(text: str) -> int:
    """Read an integer of YAML 1.1: 0b, 0x, a leading 0 is octal, 1:30 is to the base 60."""
    digits = text.replace("_", "").lower()
    sign = -1 if digits.startswith("-") else 1
    digits = digits.lstrip("+-")
    if len(digits) > numbers.MAX_DIGITS:
        raise ValueError(text)
    if digits.startswith(("0b", "0x")):
        return sign * int(digits, 0)
    if digits.startswith("0") and digits != "0":
        return sign * int(digits, 8)
    value = 0
    for part in digits.split(":"):
        value = value * 60 + int(part)
    return sign * value


def _decimal(text: str) -> Decimal:
    digits = text.replace("_", "").lower()
    if ":" not in digits:
        return numbers.parse_decimal(digits)
    sign = -1 if digits.startswith("-") else 1
    value = Decimal(0)
    for part in digits.lstrip("+-").split(":"):
        value = value * 60 + Decimal(part)
    return numbers.pointed(sign * value)


class _Dumper(yaml.CSafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True


def _represent_decimal(dumper: yaml.CSafeDumper, value: Decimal) -> yaml.ScalarNode:
    return dumper.represent_scalar(_TAG + "float", numbers.text(value))


_Dumper.add_representer(Decimal, _represent_decimal)


def dump(value: Value) -> str:
    """Write a value as block-style YAML with sorted keys."""
    return str(yaml.dump(value, Dumper=_Dumper, default_flow_style=False))
