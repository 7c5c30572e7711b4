"""The Go client does what its README shows, and loses and repeats nothing when the server is killed."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import tradewind
from tests.client.go_peer import BUILD_PATIENCE, GO_CLIENT, PATIENCE, ROOT, TWO_STEPS, KillableServer, Peer
from tests.docs.story import Story


@pytest.mark.slow
def test_go_code_is_clean_and_passes_its_own_tests(go: str) -> None:
    """Formatting, vet and unit tests: what `make go` runs."""
    done = subprocess.run(
        ["make", "-s", "go"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=BUILD_PATIENCE,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_quickstart_does_what_it_shows(go: str, tmp_path: Path) -> None:
    """A reader who follows clients/go/README.md sees what it says."""
    module = f"github.com/tradewind/tradewind/clients/go => {GO_CLIENT}"
    own = (GO_CLIENT / "go.mod").read_text().replace("module github.com/tradewind/tradewind/clients/go", "module hello")
    (tmp_path / "go.mod").write_text(
        f"{own}\nrequire github.com/tradewind/tradewind/clients/go v0.0.0\nreplace {module}\n"
    )
    shutil.copy(GO_CLIENT / "go.sum", tmp_path)
    subprocess.run([go, "build", "./..."], cwd=GO_CLIENT, check=True, timeout=BUILD_PATIENCE)
    with Story(tmp_path) as story:
        assert story.read(GO_CLIENT / "README.md") == 2


@pytest.mark.slow
def test_killed_server_costs_a_go_worker_and_watcher_nothing(peer: str, tmp_path: Path) -> None:
    """Twice: the result comes while no server is there, and the action is still at work when one is there again."""
    with contextlib.ExitStack() as end:
        server = KillableServer(str(tmp_path / "tradewind.db"))
        end.callback(server.kill)
        worker = Peer(peer, "work", server.address)
        end.callback(worker.close)
        client = end.enter_context(tradewind.connect(server.address))
        client.deploy(("two_steps.yaml", TWO_STEPS))
        id_ = client.start("two_steps").id
        watcher = Peer(peer, "watch", server.address, id_)
        end.callback(watcher.close)
        watcher.says("TaskStarted")
        worker.says("began one 1")

        server.kill()
        worker.hears("finish one without a server")
        worker.says("ended one")
        server.start()
        worker.says("began two 1")

        server.kill()
        server.start()
        worker.hears("finish two")
        assert watcher.ends() == 0

        history = [f"{event.revision} {event.type}" for event in client.history(id_)]
        ended = client.get(id_)
        worker.terminate()
        assert worker.ends() == 0

    assert watcher.said == history
    assert worker.said == ["began one 1", "ended one", "began two 1", "ended two"]
    assert (ended.state, str(ended.output["amount"])) == ("SUCCEEDED", "0.10")


ASKING = """
version: '2.0'
asking:
  output: {outcome: <% $.outcome %>}
  tasks:
    approve:
      human:
        title: Approve it
        users: [alice]
        show: {amount: 0.10}
        outcomes: [approve, reject]
      publish: {outcome: <% task().result.outcome %>}
"""


@contextlib.contextmanager
def _with(definition: str, folder: Path) -> Iterator[tuple[KillableServer, tradewind.Client]]:
    """Give a server of its own that has *definition*, and a client."""
    with contextlib.ExitStack() as end:
        server = KillableServer(str(folder / "tradewind.db"))
        end.callback(server.kill)
        client = end.enter_context(tradewind.connect(server.address))
        client.deploy(("definition.yaml", definition))
        yield server, client


@pytest.mark.slow
def test_go_program_decides_what_its_user_is_asked(peer: str, tmp_path: Path) -> None:
    """It waits for the inbox, claims, comments, sees the amount with its digits, decides, and reads what happened."""
    with contextlib.ExitStack() as end:
        server, client = end.enter_context(_with(ASKING, tmp_path))
        person = Peer(peer, "decide", server.address, "alice", "approve")
        end.callback(person.close)
        id_ = client.start("asking").id
        assert person.ends() == 0
        ended = client.wait(id_, timeout=PATIENCE)

    assert (ended.state, ended.output) == ("SUCCEEDED", {"outcome": "approve"})
    assert person.said == [
        'Approve it CLAIMED alice {"amount":0.10}',
        "COMPLETED approve alice",
        "HumanTaskOffered ",
        "HumanTaskClaimed alice",
        "HumanTaskCommented alice",
        "HumanTaskSeen alice",
        "HumanTaskCompleted alice",
    ]


FILES = """
version: '2.0'
files:
  output: {names: <% $.names %>}
  tasks:
    sign:
      human:
        title: Sign it
        users: [alice]
        attachments: {minimum: 2, content_types: application/pdf}
      publish: {names: <% task().result.attachments.select($.name) %>}
"""


@pytest.mark.slow
def test_go_program_adds_files_and_has_them_back(peer: str, tmp_path: Path) -> None:
    """Byte for byte, although the server is killed in between; what is refused has its reason."""
    with contextlib.ExitStack() as end:
        server, client = end.enter_context(_with(FILES, tmp_path))
        person = Peer(peer, "attach", server.address, "alice")
        end.callback(person.close)
        id_ = client.start("files").id
        person.says("large.pdf PAYLOAD_TOO_LARGE")

        server.kill()
        server.start()
        person.hears("read them")
        assert person.ends() == 0
        ended = client.wait(id_, timeout=PATIENCE)

    assert (ended.state, ended.output) == ("SUCCEEDED", {"names": ["contract.pdf", "scan.pdf"]})
    assert person.said == [
        "f1 contract.pdf application/pdf 300011 true  alice",
        "f2 scan.pdf application/pdf 1099511627776 true https://192.0.2.1/scan.pdf alice",
        "f3 wrong.pdf application/pdf 5 false  alice",
        "note.txt ATTACHMENT_REFUSED",
        "large.pdf PAYLOAD_TOO_LARGE",
        "f1 contract.pdf 300011 true",
        "f2 scan.pdf 0 false",
        "f3 ATTACHMENT_NOT_FOUND",
        "a decision on no files HUMAN_TASK_CHANGED",
        "seen f1 contract.pdf",
        "seen f2 scan.pdf",
        "COMPLETED alice",
        "afterwards true",
    ]
