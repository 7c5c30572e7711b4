"""`tradewind task attach` and what becomes of a file, against a real server."""

from __future__ import annotations

import hashlib
import json
import mimetypes
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli import command_line
from tests.cli.test_people import answer, run
from tests.docs.story import Story, served
from tradewind_server.cli.attachments import name_to_write, type_of

TEXT = """
version: '2.0'
contract:
  tasks:
    approve:
      human: {title: Approve, groups: heads, attachments: {minimum: 1, content_types: [application/pdf, 'text/*']}}
"""
CONTENT = b"%PDF\x00\xff"


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """A server of the module, with one workflow deployed."""
    with served(tmp_path_factory.mktemp("files"), "contract.yaml", TEXT) as story:
        yield story


@pytest.fixture
def id_(story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Give a human task, in a folder of its own with a file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "contract.pdf").write_bytes(CONTENT)
    return f"{answer(story, 'eve', 'start', 'contract')['id']}/a1"


@pytest.mark.slow
def test_a_file_is_added_listed_written_and_withdrawn(story: Story, id_: str, tmp_path: Path) -> None:
    missing = run(story, "ann", "task", "submit", id_, "--outcome", "done")
    assert b"ATTACHMENTS_MISSING" in missing.stderr
    assert run(story, "ann", "task", "attach", id_, "contract.pdf").stdout == b"f1: contract.pdf\n"
    reference = ("--name", "terms.txt", "--uri", "s3://files/terms", "--size", "7", "--digest", f"sha256:{'0' * 64}")
    assert answer(story, "ann", "task", "attach", id_, *reference)["uri"] == "s3://files/terms"
    assert b"ATTACHMENT_REFUSED" in run(story, "ann", "task", "attach", id_, "contract.pdf", "--name", "a.png").stderr

    listed = answer(story, "ben", "task", "attachments", id_)
    told = [(each["id"], each["name"], each["content_type"], each["size"], each["added_by"]) for each in listed]
    assert told == [("f1", "contract.pdf", "application/pdf", 6, "ann"), ("f2", "terms.txt", "text/plain", 7, "ann")]
    assert listed[0]["digest"] == f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
    assert b"s3://files/terms" in run(story, "ben", "task", "attachments", id_).stdout
    assert b"Files: f1 contract.pdf, f2 terms.txt" in run(story, "ben", "task", "show", id_).stdout

    there = run(story, "ben", "task", "download", id_, "f1")
    assert (there.returncode != 0, b"there is one" in there.stderr) == (True, True)
    assert run(story, "ben", "task", "download", id_, "f1", "-o", "-").stdout == CONTENT
    assert answer(story, "ben", "task", "download", id_, "f1", "-o", "copy.pdf")["path"] == "copy.pdf"
    assert (tmp_path / "copy.pdf").read_bytes() == CONTENT
    elsewhere = run(story, "ben", "task", "download", id_, "f2")
    assert b"s3://files/terms" in elsewhere.stderr

    assert run(story, "ann", "task", "withdraw", id_, "f2", "--note", "old").stdout == b"f2 is withdrawn.\n"
    entries = answer(story, "ben", "task", "show", id_)["entries"]
    assert [(e["type"], e["text"], e["attachment"]["name"]) for e in entries if e["attachment"]][-1] == (
        "HumanTaskAttachmentWithdrawn", "old", "terms.txt",
    )  # fmt: skip
    assert b"attachment withdrawn by ann: f2 terms.txt  (old)" in run(story, "ben", "task", "show", id_).stdout
    assert answer(story, "ann", "task", "submit", id_, "--outcome", "done")["outcome"] == "done"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "either a file or --uri"),
        (("contract.pdf", "--uri", "s3://a/b"), "either a file or --uri"),
        (("-",), "Expected --name"),
        (("nowhere.pdf",), "'nowhere.pdf' cannot be read"),
    ],
)
def test_what_is_no_file_is_told(story: Story, id_: str, arguments: tuple[str, ...], said: str) -> None:
    done = run(story, "ann", "task", "attach", id_, *arguments)
    assert (done.returncode, said in done.stderr.decode()) == (2, True), done.stderr


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("contract.pdf", "contract.pdf"),
        ("Screenshot at 9.41\u202fAM.png", "Screenshot at 9.41\u202fAM.png"),
        ("console.log", "console.log"),
        (".profile", "_profile"),
        ("..", "__"),
        ("...rc", "___rc"),
        ("-rf", "_rf"),
        ("../.envrc", "_envrc"),
        ("a\\.envrc", "_envrc"),
        ("CON", "_CON"),
        ("nul.txt", "_nul.txt"),
        ("Com1 .tar.gz", "_Com1 .tar.gz"),
        ("LPT\u00b9", "_LPT\u00b9"),
        ("a.txt:evil.exe", "a.txt_evil.exe"),
        ("***", "___"),
        ("evil.exe. .", "evil.exe___"),
        ("", "_"),
    ],
)
def test_a_name_that_somebody_else_has_chosen_is_no_dotfile_and_no_device(name: str, written: str) -> None:
    assert name_to_write(name) == written


@pytest.mark.parametrize(
    ("name", "type_"),
    [
        ("a.pdf", "application/pdf"),
        ("A.PDF", "application/pdf"),
        ("report.pdf.gz", "application/gzip"),
        ("files.tgz", "application/gzip"),
        ("files.tar.xz", "application/x-xz"),
        ("files.tar.bz2", "application/x-bzip2"),
        ("report.pdf.Z", "application/octet-stream"),
        ("no_such_thing", "application/octet-stream"),
    ],
)
def test_the_media_type_is_that_of_the_whole_file(name: str, type_: str) -> None:
    """A packed PDF is no PDF."""
    assert type_of(name) == type_


@pytest.mark.parametrize("name", ["a.xlsm", "a.docm"])
def test_a_workbook_with_macros_has_its_media_type_in_small_letters(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the server wants it, whatever the computer calls it."""
    monkeypatch.setattr(mimetypes, "guess_type", lambda _: ("application/vnd.ms-x.macroEnabled.12", None))
    assert type_of(name) == "application/vnd.ms-x.macroenabled.12"


@pytest.mark.slow
def test_a_profile_that_somebody_else_has_added_is_written_as_no_profile(
    story: Story, id_: str, tmp_path: Path
) -> None:
    """Unless whoever downloads says so."""
    run(story, "ann", "task", "attach", id_, "contract.pdf", "--name", ".profile", "--content-type", "text/plain")
    done = run(story, "ben", "task", "download", id_, "f1")
    assert done.stdout == b"_profile is written; its name is '.profile'.\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["_profile", "contract.pdf"]
    assert answer(story, "ben", "task", "download", id_, "f1", "-o", ".profile")["path"] == ".profile"


@pytest.mark.slow
def test_a_file_that_is_too_large_is_refused_before_it_is_sent(story: Story, id_: str, tmp_path: Path) -> None:
    """With the name of the limit: gRPC's own words would be about a message."""
    (tmp_path / "huge.pdf").write_bytes(b"x" * 5_000_000)
    done = run(story, "ann", "task", "attach", id_, "huge.pdf")
    told = "Expected at most 1048576 bytes (max_attachment_bytes), but 'huge.pdf' has 5000000."
    assert (done.returncode, told in done.stderr.decode()) == (2, True), done.stderr


@pytest.mark.slow
def test_standard_input_is_a_file_with_a_name(story: Story, id_: str) -> None:
    who = ("--user", "ann", "--groups", "heads", "--address", story.address)
    command = ("task", "attach", id_, "-", "--name", "note.txt", "--json")
    done = command_line.tradewind(*command, *who, input_=b"said")
    assert json.loads(done.stdout)["size"] == 4
