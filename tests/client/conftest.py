"""Keep gRPC's own log out of the tests' output, since they cut connections on purpose; and build their Go program."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.client.go_peer import BUILD_PATIENCE, GO_CLIENT

os.environ.setdefault("GRPC_VERBOSITY", "ERROR")


@pytest.fixture(scope="session")
def go() -> str:
    """Give the Go compiler, or leave the test out."""
    found = shutil.which("go")
    if found is None:
        pytest.skip("Go is not installed, so the Go client is not tested")
    return found


@pytest.fixture(scope="session")
def peer(go: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give the Go program of these tests."""
    program: Path = tmp_path_factory.mktemp("peer") / "peer"
    build = [go, "build", "-o", str(program), "./internal/peer"]
    subprocess.run(build, cwd=GO_CLIENT, check=True, timeout=BUILD_PATIENCE)
    return str(program)
