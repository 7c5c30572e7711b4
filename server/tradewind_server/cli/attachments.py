"""Commands for files of human tasks."""

from __future__ import annotations

import mimetypes
import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from tradewind import Client
from tradewind.attachments import Attachment, Download
from tradewind_server.cli import records
from tradewind_server.cli.session import Session, Unusable, on_server

Id = Annotated[str, typer.Argument(metavar="ID", help="Id of the human task, as the inbox shows it.")]
FileId = Annotated[str, typer.Argument(metavar="ATTACHMENT", help="Id of the file, such as f1.")]
_ANY_TYPE = "application/octet-stream"
#: Media types of what `mimetypes` calls an encoding.
_PACKED = {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}
#: At the begin of a name a shell would read it, or a command take it for an option; Windows reads `:` as a part of a
#: file, and drops dots and blanks at the end.
_ACTIVE = re.compile(r'^[.-]+|[<>:"/\\|?*\x00-\x1f\x7f]|[. ]+$')
#: Names of devices, whatever comes after a dot: "Naming Files, Paths, and Namespaces" of Windows.
_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9\u00b9\u00b2\u00b3])[ ]*(\.|$)", re.IGNORECASE)


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (attach, attachments, download, withdraw):
        app.command()(command)


@on_server
def attach(
    session: Session,
    id: Id,
    file: Annotated[str, typer.Argument(metavar="[FILE|-]", help="The file; - for standard input.")] = "",
    name: Annotated[str, typer.Option(help="Its name; default that of the file.")] = "",
    content_type: Annotated[str, typer.Option(help="Its media type; default what its name says.")] = "",
    uri: Annotated[str, typer.Option(help="Instead of a file: where it is kept, with --name.")] = "",
    size: Annotated[int, typer.Option(help="Its bytes, with --uri.")] = 0,
    digest: Annotated[str, typer.Option(help="Its digest, sha256:…, with --uri.")] = "",
) -> None:
    """Add a file to a human task."""
    if bool(file) == bool(uri):
        raise Unusable("Expected either a file or --uri.")
    name = name or (Path(file).name if file != "-" else "")
    if not name:
        raise Unusable("Expected --name, since there is no file to have one.")
    type_ = content_type or type_of(name)
    with session.client() as client:
        if uri:
            added = client.people.refer(id, name, uri, size, digest, content_type=type_)
        else:
            content = _read(file)
            _check_fits(client, name, len(content))
            added = client.people.attach(id, name, content, content_type=type_)
    session.output.record(records.attachment(added), f"{added.id}: {added.name}")


def type_of(name: str) -> str:
    """Return the media type that a file's *name* stands for: of `a.pdf.gz` that of what packs it."""
    type_, encoding = mimetypes.guess_type(name)
    # Python knows some with capitals, such as that of .xlsm
    return (_PACKED.get(encoding, _ANY_TYPE) if encoding else type_ or _ANY_TYPE).lower()


def _read(file: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as problem:
        raise Unusable(f"Expected a file, but '{file}' cannot be read: {problem.strerror}.") from None


def _check_fits(client: Client, name: str, size: int) -> None:
    # the server could not say so of what is larger than a message
    most = client.server_info().limits.get("max_attachment_bytes", size)
    if size > most:
        where = "Keep it elsewhere, and add a reference to it with --uri."
        raise Unusable(f"Expected at most {most} bytes (max_attachment_bytes), but '{name}' has {size}. {where}")


@on_server
def attachments(session: Session, id: Id) -> None:
    """List the files of a human task."""
    with session.client() as client:
        found = client.people.get(id).attachments
    session.output.table(
        [records.attachment(item) for item in found],
        ("ID", "NAME", "TYPE", "BYTES", "BY", "SINCE", "WHERE", "DIGEST"),
        [_cells(item) for item in found],
    )


def _cells(item: Attachment) -> tuple[str, ...]:
    since, where = item.added_at.strftime("%Y-%m-%d %H:%M"), item.uri or "here"
    return (item.id, item.name, item.content_type, str(item.size), item.added_by, since, where, item.digest)


@on_server
def download(
    session: Session,
    id: Id,
    attachment: FileId,
    output: Annotated[
        str,
        typer.Option("--output", "-o", metavar="FILE|-", help="Where to write it; default its name, here, made safe."),
    ] = "",
    force: Annotated[bool, typer.Option(help="Write over a file that is there.")] = False,
) -> None:
    """Write a file of a human task."""
    with session.client() as client:
        found = _got(client, id, attachment)
    if output == "-":
        sys.stdout.buffer.write(found.content)
        sys.stdout.buffer.flush()
        return
    name = found.attachment.name
    path = Path(output or name_to_write(name))
    try:
        with path.open("wb" if force else "xb") as file:
            file.write(found.content)
    except FileExistsError:
        raise Unusable(f"Expected no file '{path}', but there is one. Give another one with -o, or --force.") from None
    except OSError as problem:
        raise Unusable(f"Expected to write '{path}', but that failed: {problem.strerror}.") from None
    other = "" if output or path.name == name else f"; its name is '{name}'"
    session.output.record({**records.attachment(found.attachment), "path": str(path)}, f"{path} is written{other}.")


def name_to_write(name: str) -> str:
    """Return what a file is called here whose *name* somebody else has chosen: nothing that anything reads by itself.

    It leads into no other folder, is not hidden, as a `.profile` would be, and no device.
    """
    plain = _ACTIVE.sub(lambda found: "_" * len(found[0]), name.replace("\\", "/").rpartition("/")[2])
    return f"_{plain}" if not plain or _DEVICE.match(plain) else plain


def _got(client: Client, id: str, attachment: str) -> Download:
    found = client.people.download(id, attachment)
    if found.attachment.uri:
        raise Unusable(f"Expected a file that is kept here, but it is at {found.attachment.uri}. Nothing was fetched.")
    if not found.is_whole:
        raise Unusable(f"Expected a file with the digest {found.attachment.digest}, but it has another one.")
    return found


@on_server
def withdraw(
    session: Session, id: Id, attachment: FileId, note: Annotated[str, typer.Option(help="Why.")] = ""
) -> None:
    """Take a file back; it is gone then."""
    with session.client() as client:
        client.people.withdraw(id, attachment, note)
    session.output.record({"id": attachment}, f"{attachment} is withdrawn.")
