"""The functions that YAQL expressions can call: the standard library with exact numbers and bounds.

What is defined anew here is so for one of four reasons: numbers (decimals, not floats), size (a result may
be far larger than its arguments), determinism (clock, random, order of sets), or it is the language's own.
"""

from __future__ import annotations

import datetime
import functools
import string as alphabets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from decimal import Decimal

from dateutil import parser as date_parser  # type: ignore[import-untyped]

from tradewind_server.lang import numbers, values
from tradewind_server.lang.expressions import yaql_face as face
from tradewind_server.lang.expressions import yaql_regex
from tradewind_server.lang.expressions.budget import plain
from tradewind_server.lang.expressions.functions import Function
from tradewind_server.lang.expressions.ordered_set import OrderedSet
from tradewind_server.lang.expressions.problems import Refused
from tradewind_server.lang.expressions.scope import VARIABLES, Root, Scope

_LEFT_OUT = frozenset(
    {
        "common.eq",
        "common.neq",
        "collections.to_set",
        "collections.set_add",
        "collections.set_remove",
        "collections.combine_lists",
        "collections.list_by_int",
        "collections.int_by_list",
        "strings.characters",
        "strings.hex_",
        "strings.join",
        "strings.join_",
        "strings.replace",
        "strings.replace_with_dict",
        "strings.str_",
        "queries.count_",
        "queries.count",
        "date_time.datetime_from_string",
        "date_time.datetime_from_timestamp",
        "date_time.localtz",
        "date_time.now",
        "system.call_func",
    }
)


@functools.cache
def context() -> object:
    """Make the functions, once: it takes some 30 ms."""
    made = face.library_context(_LEFT_OUT, {"date_time": _without_floats})
    for define in (_numbers, _comparison, _texts, _collections, _times, _language, yaql_regex.define_functions):
        define(made)
    return made


def root(scope: Scope) -> object:
    """Make `$`: like the variables, but immutable and hashable, converted when first looked at."""
    return _LibraryRoot(scope) if scope.whole is VARIABLES else converted(scope.whole)


class _LibraryRoot(Mapping[str, object]):
    __slots__ = ("_converted", "_root")

    def __init__(self, scope: Scope) -> None:
        self._root = Root(scope)
        self._converted: dict[str, object] = {}

    def __getitem__(self, name: str) -> object:
        if name not in self._converted:
            self._converted[name] = converted(self._root[name])
        return self._converted[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._root)

    def __len__(self) -> int:
        return len(self._root)


def converted(value: object) -> object:
    """Make a business value immutable and hashable, as the library's operators expect."""
    if isinstance(value, list | tuple):
        return tuple([converted(item) for item in value])
    if isinstance(value, Mapping):
        return face.FrozenDict({key: converted(item) for key, item in value.items()})
    return value


def _without_floats(function: Function) -> Function:
    @functools.wraps(function)
    def wrapped(*args: object, **kwargs: object) -> object:
        result = function(*args, **kwargs)
        return numbers.from_float(result) if isinstance(result, float) else result

    return wrapped


# --- numbers -------------------------------------------------------------------------------------


def _numbers(made: object) -> None:
    two = {"left": face.NUMBER, "right": face.NUMBER}
    for name, binary in _BINARY.items():
        face.define(made, f"#operator_{name}", binary, **two)
    face.define(made, "#unary_operator_+", lambda op: op, op=face.NUMBER)
    face.define(made, "#unary_operator_-", lambda op: numbers.negate(op), op=face.NUMBER)
    face.define(made, "abs", lambda op: numbers.negate(op) if op < 0 else op, op=face.NUMBER)
    face.define(made, "sign", lambda num: (num > 0) - (num < 0), num=face.NUMBER)
    face.define(made, "int", lambda value: 0 if value is None else numbers.to_int(value))
    face.define(made, "float", lambda value: Decimal("0.0") if value is None else numbers.to_decimal(value))
    face.define(made, "isInteger", lambda value: isinstance(value, int) and not isinstance(value, bool))
    face.define(made, "isNumber", lambda value: numbers.is_number(value))
    face.define(made, "round", _round, number=face.NUMBER, ndigits=face.INTEGER)
    face.define(made, "pow", _power, a=face.NUMBER, b=face.NUMBER, c=face.NUMBER_OR_NULL)
    face.define(made, "max", _max, operator=face.delegate("#operator_>"))
    face.define(made, "min", _min, operator=face.delegate("#operator_>"))
    face.define(made, "hex", lambda num: hex(num), num=face.INTEGER)
    face.define(made, "random", _random)
    face.define(made, "random", _random_between, from_=face.INTEGER, to_=face.INTEGER)
    both = {"left": face.INTEGER, "right": face.INTEGER}
    face.define(made, "bitwiseAnd", lambda left, right: left & right, **both)
    face.define(made, "bitwiseOr", lambda left, right: left | right, **both)
    face.define(made, "bitwiseXor", lambda left, right: left ^ right, **both)
    face.define(made, "bitwiseNot", lambda arg: ~arg, arg=face.INTEGER)
    face.define(made, "shiftBitsLeft", _shift_left, value=face.INTEGER, bits_number=face.INTEGER)
    face.define(
        made,
        "shiftBitsRight",
        lambda value, bits_number: value >> bits_number,
        value=face.INTEGER,
        bits_number=face.INTEGER,
    )


_BINARY: dict[str, Callable[..., object]] = {
    "+": lambda left, right: numbers.add(left, right),
    "-": lambda left, right: numbers.subtract(left, right),
    "*": lambda left, right: numbers.multiply(left, right),
    "/": lambda left, right: numbers.divide(left, right),
    "mod": lambda left, right: numbers.modulo(left, right),
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
}


def _round(number: numbers.Number, ndigits: int = 0) -> numbers.Number:
    return numbers.round_half_even(number, ndigits)


def _power(a: numbers.Number, b: numbers.Number, c: numbers.Number | None = None) -> numbers.Number:
    return numbers.power(a, b, c)


def _max(a: object, b: object, operator: Callable[[object, object], bool]) -> object:
    return b if operator(b, a) else a


def _min(a: object, b: object, operator: Callable[[object, object], bool]) -> object:
    return a if operator(b, a) else b


def _shift_left(value: int, bits_number: int) -> numbers.Number:
    if bits_number < 0:
        raise Refused("it shifts by a negative number")
    return numbers.multiply(value, numbers.power(2, bits_number))


def _random(engine: face.Evaluation) -> Decimal:
    """Draw from [0, 1) with 15 digits, derived and not random, so that the same command decides the same."""
    return numbers.pointed(Decimal(_draw(engine) % 10**15).scaleb(-15))


def _random_between(engine: face.Evaluation, from_: int, to_: int) -> int:
    if to_ < from_:
        raise Refused("the range of random() is empty")
    return from_ + _draw(engine) % (to_ - from_ + 1)


def _draw(engine: face.Evaluation) -> int:
    return int(engine.facts.uuid().replace("-", ""), 16)


# --- comparison ----------------------------------------------------------------------------------


def _comparison(made: object) -> None:
    face.define(made, "*equal", _equal)
    face.define(made, "*not_equal", lambda engine, left, right: not _equal(engine, left, right))


def _equal(engine: face.Evaluation, left: object, right: object) -> bool:
    if isinstance(left, Sequence | Mapping) and not isinstance(left, str) and left is not right:
        plain(left, engine.budget)  # charged, since shared parts can make a small value huge
    return bool(left == right)


# --- texts ---------------------------------------------------------------------------------------


def _texts(made: object) -> None:
    face.define(made, "str", _str)
    face.define(made, "join", _join, True, sequence=face.ITEMS, separator=face.TEXT)
    face.define(made, "join", _join_swapped, True, separator=face.TEXT, sequence=face.ITEMS)
    face.define(made, "replace", _replace, True, string=face.TEXT, old=face.TEXT, new=face.TEXT, count=face.INTEGER)
    face.define(made, "replace", _replace_all, True, string=face.TEXT, replacements=face.MAPPING, count=face.INTEGER)
    face.define(made, "characters", _characters)


def _str(engine: face.Evaluation, value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, datetime.datetime | datetime.timedelta):
        return str(value)
    return values.to_text(converted(plain(value, engine.budget)))


def _join(engine: face.Evaluation, sequence: Iterable[object], separator: str) -> str:
    parts = []
    for item in sequence:
        part = _str(engine, item)
        engine.budget.allocate(len(part) + len(separator))
        parts.append(part)
    return separator.join(parts)


def _join_swapped(engine: face.Evaluation, separator: str, sequence: Iterable[object]) -> str:
    return _join(engine, sequence, separator)


def _replace(engine: face.Evaluation, string: str, old: str, new: str, count: int = -1) -> str:
    engine.budget.allocate(len(string) + string.count(old) * max(0, len(new) - len(old)))
    return string.replace(old, new, count)


def _replace_all(engine: face.Evaluation, string: str, replacements: Mapping[object, object], count: int = -1) -> str:
    for old, new in replacements.items():
        string = _replace(engine, string, _str(engine, old), _str(engine, new), count)
    return string


def _characters(
    digits: bool = False,
    hexdigits: bool = False,
    ascii_lowercase: bool = False,
    ascii_uppercase: bool = False,
    ascii_letters: bool = False,
    octdigits: bool = False,
    punctuation: bool = False,
    printable: bool = False,
    whitespace: bool = False,
) -> tuple[str, ...]:
    chosen = {name: getattr(alphabets, name) for name, wanted in locals().items() if wanted}
    return tuple(dict.fromkeys("".join(chosen.values())))


# --- collections ---------------------------------------------------------------------------------


def _collections(made: object) -> None:
    face.define(made, "toSet", lambda collection: OrderedSet(collection), True, collection=face.ITEMS)
    face.define(made, "add", lambda s, *values: s.union(values), True, s=face.SET)
    face.define(made, "remove", lambda s, *values: s.difference(values), True, s=face.SET)
    face.define(made, "#operator_+", _concatenate, left=face.ITEMS, right=face.ITEMS)
    face.define(made, "#operator_*", _repeat, left=face.SEQUENCE, right=face.INTEGER)
    face.define(
        made,
        "#operator_*",
        lambda engine, left, right: _repeat(engine, right, left),
        left=face.INTEGER,
        right=face.SEQUENCE,
    )
    face.define(made, "len", lambda collection: sum(1 for _ in collection), None, collection=face.ITERATOR)
    face.define(made, "count", lambda collection: sum(1 for _ in collection), True, collection=face.ITEMS)


def _concatenate(engine: face.Evaluation, left: Iterable[object], right: Iterable[object]) -> object:
    if isinstance(left, Set) and isinstance(right, Set):
        return OrderedSet([*left, *right])
    joined = []
    for part in (left, right):
        for item in part:
            engine.budget.allocate(8)
            joined.append(item)
    return tuple(joined)


def _repeat(engine: face.Evaluation, left: Sequence[object], right: int) -> object:
    engine.budget.allocate(16 * len(left) * max(0, right))
    return tuple(left) * right


# --- times ---------------------------------------------------------------------------------------


def _times(made: object) -> None:
    span = face.python_type(datetime.timedelta)
    face.define(made, "now", _now, offset=span)
    face.define(made, "localtz", lambda: datetime.timedelta())
    face.define(made, "datetime", _date_from_text, string=face.TEXT, format__=face.TEXT_OR_NULL)
    face.define(made, "datetime", _date_from_number, timestamp=face.NUMBER, offset=span)


_NO_OFFSET = datetime.timedelta()


def _now(engine: face.Evaluation, offset: datetime.timedelta = _NO_OFFSET) -> datetime.datetime:
    return engine.facts.now().astimezone(datetime.timezone(offset))


def _date_from_text(engine: face.Evaluation, string: str, format__: str | None = None) -> datetime.datetime:
    if format__:
        date = datetime.datetime.strptime(string, format__)  # noqa: DTZ007 - the zone follows
    else:
        today = engine.facts.now().replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
        date = date_parser.parse(string, default=today, tzinfos={"UTC": datetime.UTC}, ignoretz=False)
    return date if date.tzinfo else date.replace(tzinfo=datetime.UTC)


def _date_from_number(timestamp: numbers.Number, offset: datetime.timedelta = _NO_OFFSET) -> datetime.datetime:
    microseconds = int(numbers.multiply(timestamp, 1_000_000))
    start = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    return (start + datetime.timedelta(microseconds=microseconds)).astimezone(datetime.timezone(offset))


# --- the language's own --------------------------------------------------------------------------


def _language(made: object) -> None:
    face.define(made, "env", lambda engine: converted(engine.functions["env"]()))
    face.define(made, "execution", lambda engine: converted(engine.functions["execution"]()))
    face.define(made, "executions", _executions)
    face.define(made, "task", _task)
    face.define(made, "tasks", _tasks)
    face.define(made, "global", lambda engine, name: converted(engine.functions["global"](name)), name=face.TEXT)
    face.define(made, "uuid", lambda engine: engine.functions["uuid"]())
    face.define(made, "secret", lambda engine, name: engine.functions["secret"](name), name=face.TEXT)
    face.define(made, "json_dump", lambda engine, data: engine.functions["json_dump"](data))
    face.define(made, "json_parse", lambda engine, data: converted(engine.functions["json_parse"](data)))
    face.define(made, "yaml_dump", lambda engine, data: engine.functions["yaml_dump"](data))
    face.define(made, "yaml_parse", lambda engine, data: converted(engine.functions["yaml_parse"](data)))


def _task(engine: face.Evaluation, name: str | None = None) -> object:
    return converted(engine.functions["task"](name))


def _tasks(
    engine: face.Evaluation,
    workflow_execution_id: str | None = None,
    recursive: bool = False,
    state: str | None = None,
    flat: bool = False,
) -> object:
    return converted(engine.functions["tasks"](workflow_execution_id, recursive, state, flat))


def _executions(
    engine: face.Evaluation,
    id: str | None = None,
    root_execution_id: str | None = None,
    state: str | None = None,
    from_time: str | None = None,
    to_time: str | None = None,
) -> object:
    return converted(engine.functions["executions"](id, root_execution_id, state, from_time, to_time))
