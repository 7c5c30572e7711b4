"""Make docs/api.md from the comments of the protos (`make pages`)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
PAGE = ROOT / "docs" / "api.md"
PACKAGE = ".tradewind.v1."

#: Numbers of the fields of descriptor.proto that a path to a comment is made of.
_MESSAGE, _ENUM, _SERVICE, _MEMBER = 4, 5, 6, 2

HEAD = """# The API

Package `tradewind.v1`. This page is made from the comments in `protos/` by `make pages`; do not edit it.

What errors look like, and what each reason asks you to do: [errors](errors.md). How to watch:
[watching](watching.md). How to write a worker: [workers](workers.md).
"""

Path_ = tuple[int, ...]


def page() -> str:
    """Return the page."""
    return render(load())


def load() -> list[FileDescriptorProto]:
    """Compile the protos, comments included, sorted by name."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "all.binpb"
        names = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))
        code = protoc.main(["", f"-I{PROTOS}", *_well_known(), "--include_source_info", f"-o{out}", *names])
        if code:
            raise SystemExit(code)
        return list(FileDescriptorSet.FromString(out.read_bytes()).file)


def _well_known() -> list[str]:
    return [f"-I{Path(protoc.__file__).parent / '_proto'}"]


def render(files: Iterable[FileDescriptorProto]) -> str:
    """Return the page."""
    files = list(files)
    services = [part for file in files for part in _services(file)]
    messages = sorted((part for file in files for part in _messages(file)), key=lambda part: part[0])
    enums = sorted((part for file in files for part in _enums(file)), key=lambda part: part[0])
    index = [f"- [{name}](#{name.lower()})" for name, _ in services]
    lines = [HEAD, "## Services", "", *index, ""]
    for _, text in services:
        lines += text
    lines += ["## Messages", ""]
    for _, text in messages:
        lines += text
    lines += ["## Enums", ""]
    for _, text in enums:
        lines += text
    return "\n".join(lines).rstrip() + "\n"


def _services(file: FileDescriptorProto) -> Iterator[tuple[str, list[str]]]:
    comments = _comments(file)
    for number, service in enumerate(file.service):
        yield service.name, _service(service, comments, (_SERVICE, number))


def _service(service: ServiceDescriptorProto, comments: dict[Path_, str], path: Path_) -> list[str]:
    lines = [f"### {service.name}", "", comments.get(path, ""), ""]
    for number, method in enumerate(service.method):
        given = ("stream " if method.client_streaming else "") + _link(method.input_type)
        got = ("stream " if method.server_streaming else "") + _link(method.output_type)
        comment = comments.get((*path, _MEMBER, number), "")
        lines += [f"#### {service.name}.{method.name}", "", f"{given} → {got}", "", comment, ""]
    return lines


def _messages(file: FileDescriptorProto) -> Iterator[tuple[str, list[str]]]:
    comments = _comments(file)
    for number, message in enumerate(file.message_type):
        yield from _message(message, comments, (_MESSAGE, number))


def _message(message: DescriptorProto, comments: dict[Path_, str], path: Path_) -> Iterator[tuple[str, list[str]]]:
    maps = {f"{PACKAGE}{message.name}.{nested.name}": nested for nested in message.nested_type}
    lines = [f"### {message.name}", "", comments.get(path, ""), ""]
    if message.field:
        lines += ["| Field | Type | What it is |", "| --- | --- | --- |"]
    for number, field in enumerate(message.field):
        comment = _in_cell(comments.get((*path, _MEMBER, number), ""))
        lines.append(f"| `{field.name}` = {field.number} | {_type(field, maps)}{_oneof(message, field)} | {comment} |")
    yield message.name, [*lines, ""] if message.field else lines


def _oneof(message: DescriptorProto, field: FieldDescriptorProto) -> str:
    if not field.HasField("oneof_index") or field.proto3_optional:
        return ""
    return f" (one of `{message.oneof_decl[field.oneof_index].name}`)"


def _type(field: FieldDescriptorProto, maps: dict[str, DescriptorProto]) -> str:
    if field.type_name in maps:
        key, value = maps[field.type_name].field
        return f"map of {_type(key, {})} to {_type(value, {})}"
    repeated = "repeated " if field.label == FieldDescriptorProto.LABEL_REPEATED else ""
    if field.type_name:
        return repeated + _link(field.type_name)
    name = FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    return f"{repeated}{'optional ' if field.proto3_optional else ''}{name}"


def _enums(file: FileDescriptorProto) -> Iterator[tuple[str, list[str]]]:
    comments = _comments(file)
    for number, enum in enumerate(file.enum_type):
        yield enum.name, _enum(enum, comments, (_ENUM, number))


def _enum(enum: EnumDescriptorProto, comments: dict[Path_, str], path: Path_) -> list[str]:
    lines = [f"### {enum.name}", "", comments.get(path, ""), "", "| Value | What it means |", "| --- | --- |"]
    for number, value in enumerate(enum.value):
        comment = _in_cell(comments.get((*path, _MEMBER, number), ""))
        lines.append(f"| `{value.name}` = {value.number} | {comment} |")
    return [*lines, ""]


def _comments(file: FileDescriptorProto) -> dict[Path_, str]:
    """Return the comment of each element, its lines without the blank that follows the slashes."""
    return {
        tuple(location.path): "\n".join(
            line.removeprefix(" ") for line in location.leading_comments.split("\n")
        ).strip()
        for location in file.source_code_info.location
        if location.leading_comments
    }


def _in_cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _link(name: str) -> str:
    if not name.startswith(PACKAGE):
        return f"`{name.removeprefix('.')}`"
    short = name.removeprefix(PACKAGE)
    return f"[{short}](#{short.lower()})"
