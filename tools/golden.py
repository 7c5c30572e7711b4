"""At a release: keep what was promised in it, so that later versions can prove that they still read it.

`python tools/golden.py` writes `tests/golden/VERSION/`: every message of the contract and every type of stored event,
each with all fields set, as they are on the wire and in the table; and the digests of its migrations and of the
protos' image, which `make release` has made just before. What is there for a version is never made again.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import importlib
import json
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from tradewind import v1
from tradewind_server import __version__
from tradewind_server.engine import events
from tradewind_server.engine.codec import VERSIONS, encode_event

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests" / "golden"
IMAGE = ROOT / "protos" / "baseline.binpb"
MIGRATIONS = ROOT / "server" / "tradewind_server" / "store" / "migrations" / "versions"
#: Messages in messages are set down to this depth; each type stands by itself as well.
_DEPTH = 2


def main() -> int:
    """Write the folder of this version; exit code 1 if it is there."""
    folder = GOLDEN / __version__
    if folder.exists():
        sys.stderr.write(f"{folder.relative_to(ROOT)} is there: what a release has promised does not change.\n")
        return 1
    folder.mkdir(parents=True)
    _write(folder / "messages.json", [_message(each) for each in messages()])
    _write(folder / "events.json", [_event(each) for each in sample_events()])
    (folder / "image.sha256").write_text(_digest(IMAGE) + "\n")
    migrations = sorted(MIGRATIONS.glob("[0-9]*.py"))
    (folder / "migrations.sha256").write_text("".join(f"{_digest(path)}  {path.name}\n" for path in migrations))
    return 0


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _write(path: Path, items: list[dict[str, object]]) -> None:
    path.write_text("[\n" + ",\n".join(json.dumps(item, sort_keys=True) for item in items) + "\n]\n")


# --- messages ------------------------------------------------------------------------------------


def descriptors() -> list[Descriptor]:
    """Return every message of the contract, by name."""
    files = [
        importlib.import_module(f"tradewind.v1.{module.name}").DESCRIPTOR
        for module in pkgutil.iter_modules(v1.__path__)
        if module.name.endswith("_pb2")
    ]
    found = [message for file in files for message in file.message_types_by_name.values()]
    return sorted(found, key=lambda each: str(each.full_name))


def messages() -> Iterator[Message]:
    """Yield each message with all fields set; of a choice, one message for each of its fields."""
    for descriptor in descriptors():
        widest = max((len(oneof.fields) for oneof in descriptor.oneofs), default=1)
        for choice in range(widest):
            yield _filled(descriptor, choice, _DEPTH)


def _filled(descriptor: Descriptor, choice: int, depth: int) -> Message:
    message: Message = message_factory.GetMessageClass(descriptor)()
    for field in descriptor.fields:
        chosen = field.containing_oneof
        if chosen is not None and chosen.fields[choice % len(chosen.fields)].name != field.name:
            continue
        _set(message, field, choice, depth)
    return message


def _set(message: Message, field: FieldDescriptor, choice: int, depth: int) -> None:
    of_message = field.message_type
    if of_message is None:
        value = _scalar(field)
        if field.is_repeated:
            getattr(message, field.name).append(value)
        else:
            setattr(message, field.name, value)
    elif of_message.GetOptions().map_entry:
        key, item = of_message.fields_by_name["key"], of_message.fields_by_name["value"]
        if item.message_type is None:
            getattr(message, field.name)[_scalar(key)] = _scalar(item)
        elif depth:
            getattr(message, field.name)[_scalar(key)].CopyFrom(_filled(item.message_type, choice, depth - 1))
    elif depth:
        made = _filled(of_message, choice, depth - 1)
        if field.is_repeated:
            getattr(message, field.name).append(made)
        else:
            getattr(message, field.name).CopyFrom(made)


def _scalar(field: FieldDescriptor) -> Any:
    if field.enum_type is not None:
        return field.enum_type.values[-1].number
    kinds = {
        FieldDescriptor.CPPTYPE_STRING: field.name,
        FieldDescriptor.CPPTYPE_BOOL: True,
        FieldDescriptor.CPPTYPE_DOUBLE: 1.5,
        FieldDescriptor.CPPTYPE_FLOAT: 1.5,
    }
    value = kinds.get(field.cpp_type, field.number)
    return field.name.encode() if field.type == FieldDescriptor.TYPE_BYTES else value


def _message(message: Message) -> dict[str, object]:
    return {
        "type": message.DESCRIPTOR.full_name,
        "bytes": base64.b64encode(message.SerializeToString(deterministic=True)).decode(),
        "json": json_format.MessageToDict(message),
    }


# --- events --------------------------------------------------------------------------------------


def sample_events() -> Iterator[events.Event]:
    """Yield an event of each type with all fields set."""
    for cls in sorted(events.Event.__subclasses__(), key=lambda each: each.__name__):
        info = msgspec.inspect.type_info(cls)
        assert isinstance(info, msgspec.inspect.StructType)
        yield cls(**{field.name: _value(field.type, field.name) for field in info.fields})


def _value(info: msgspec.inspect.Type, name: str) -> object:
    kinds: dict[type, object] = {
        msgspec.inspect.IntType: 7,
        msgspec.inspect.StrType: name,
        msgspec.inspect.BoolType: True,
        msgspec.inspect.DateTimeType: datetime.datetime(2026, 11, 29, 12, 30, tzinfo=datetime.UTC),
        msgspec.inspect.AnyType: {"amount": 12.5, "items": [1, None, name]},
    }
    if type(info) in kinds:
        return kinds[type(info)]
    if isinstance(info, msgspec.inspect.UnionType):
        return _value(next(t for t in info.types if not isinstance(t, msgspec.inspect.NoneType)), name)
    if isinstance(info, msgspec.inspect.DictType):
        return {"key": _value(info.value_type, name)}
    if isinstance(info, msgspec.inspect.TupleType):
        return tuple(_value(each, name) for each in info.item_types)
    if isinstance(info, msgspec.inspect.EnumType):
        return next(iter(info.cls))
    if isinstance(info, msgspec.inspect.StructType):
        return info.cls(**{field.name: _value(field.type, field.name) for field in info.fields})
    assert isinstance(info, msgspec.inspect.ListType | msgspec.inspect.VarTupleType), f"{name} is a {info}"
    return [_value(info.item_type, name)]


def _event(event: events.Event) -> dict[str, object]:
    name = type(event).__name__
    return {"type": name, "version": VERSIONS[name], "body": encode_event(event).decode()}


if __name__ == "__main__":
    sys.exit(main())
