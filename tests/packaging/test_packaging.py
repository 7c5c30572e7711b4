"""Server and client have one version, and the client alone is light."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

import tradewind
import tradewind_server

ROOT = Path(__file__).resolve().parent.parent.parent
CLIENT = ROOT / "clients" / "python"

#: What the client may need, besides the standard library and itself.
LIGHT = {"grpcio", "grpcio-status", "googleapis-common-protos", "protobuf"}
MODULES = {"grpc", "grpc_status", "google", "tradewind"}


def test_there_is_one_version() -> None:
    """Client and server are released together."""
    assert tradewind.__version__ == tradewind_server.__version__


def test_the_server_needs_what_the_client_needs() -> None:
    """The root distribution contains the client, so it has the client's requirements, with the same bounds."""
    client, root = (
        set(tomllib.loads((folder / "pyproject.toml").read_text())["project"]["dependencies"])
        for folder in (CLIENT, ROOT)
    )
    assert {re.split(r"\W*[<>=]", name)[0] for name in client} == LIGHT
    assert client <= root


def test_the_client_imports_nothing_else() -> None:
    """No module of the client imports the server or what only the server has."""
    imported = set()
    for path in (CLIENT / "tradewind").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {name.name.split(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add((node.module or "").split(".")[0])
    assert imported - set(sys.stdlib_module_names) <= MODULES


@pytest.mark.slow
def test_the_client_installs_alone(tmp_path: Path) -> None:
    """A fresh environment with the built client alone has its types, no SQLAlchemy, and nothing of the server."""
    # given
    wheel = build(CLIENT, tmp_path)
    venv.create(tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]

    # when
    constraints = ["-c", str(ROOT / "constraints.txt")]
    subprocess.run([*pip, "-qq", "install", "--no-compile", *constraints, str(wheel)], check=True)

    # then
    listed = subprocess.run([*pip, "list", "--format=freeze"], check=True, capture_output=True, text=True).stdout
    names = {line.split("==")[0].lower() for line in listed.splitlines()}
    assert names == {"tradewind-client", "typing_extensions", *LIGHT}
    subprocess.run([str(python), "-c", "import tradewind; tradewind.connect().close()"], check=True, cwd=tmp_path)
    files = set(zipfile.ZipFile(wheel).namelist())
    assert {"tradewind/py.typed", "tradewind/v1/event_pb2.pyi"} <= files
    assert not any(name.startswith("tradewind_server") for name in files)


@pytest.mark.slow
def test_the_root_distribution_has_both(tmp_path: Path) -> None:
    """One wheel has server, client and stubs, each once."""
    files = zipfile.ZipFile(build(ROOT, tmp_path)).namelist()
    wanted = {
        "tradewind_server/errors/people.py",
        "tradewind/client.py",
        "tradewind/v1/event_pb2.py",
        "tradewind/py.typed",
    }
    assert wanted <= set(files)
    assert len(files) == len(set(files))
    assert not any(name.startswith(("tests/", "bench/", "build/")) for name in files)


def build(folder: Path, out: Path) -> Path:
    """Build the wheel of *folder* and return its path."""
    # From a copy: setuptools leaves its own folders beside the sources. Without what other tests write meanwhile.
    copy = out / "source"
    ignored = [".*", "build", "*.egg-info", "__pycache__", "node_modules"]
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns(*ignored))
    pip = [sys.executable, "-m", "pip", "-qq", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", str(out), str(copy)], check=True)
    return next(out.glob("*.whl"))
