"""Make the committed stubs from the protos, or compare them.

`python tools/generate.py` writes them; `--check` writes them elsewhere and exits 1 if they differ from what is
committed. Python comes from grpcio-tools and mypy-protobuf, Go from buf with two plugins that `make protos` builds into
.tools/bin. Where Go's plugins are missing, Python alone is made or compared, and the last line says so.
"""

from __future__ import annotations

import argparse
import filecmp
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
PLUGINS = ROOT / ".tools" / "bin"
BIN = Path(sys.executable).parent

#: Folder of the language's output root, and the folder below it that holds nothing but generated files.
PYTHON = ("clients/python", "tradewind/v1")
GO = ("clients/go", "tradewind/v1")


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare with the committed stubs, write nothing")
    check = parser.parse_args().check
    languages = [PYTHON, GO] if has_go_plugins() else [PYTHON]
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder)
        generate_python(made / PYTHON[0])
        if GO in languages:
            generate_go(made)
        differences = [name for language in languages for name in settle(made, language, check)]
    for name in differences:
        sys.stderr.write(f"differs from its proto, run `make protos`: {name}\n")
    if GO not in languages:
        sys.stderr.write(f"Go stubs were not {'compared' if check else 'made'}: {PLUGINS} has no plugins (needs Go)\n")
    return 1 if differences else 0


def has_go_plugins() -> bool:
    """Say whether both plugins are built."""
    return all((PLUGINS / name).exists() for name in ("protoc-gen-go", "protoc-gen-go-grpc"))


def generate_python(out: Path) -> None:
    """Write messages, services and their types below *out*, with the package markers."""
    package = out / PYTHON[1]
    package.mkdir(parents=True)
    sources = sorted(PROTOS.rglob("*.proto"))
    services = [path for path in sources if "\nservice " in path.read_text()]
    run_protoc(sources, f"--python_out={out}", f"--mypy_out=quiet:{out}")
    run_protoc(services, f"--grpc_python_out={out}", f"--mypy_grpc_out=quiet:{out}")
    (package / "__init__.py").write_text('"""Generated messages and services of the API; do not edit."""\n')


def run_protoc(sources: list[Path], *outputs: str) -> None:
    """Run protoc with the plugins beside this interpreter."""
    plugins = [f"--plugin={name}={BIN / name}" for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")]
    files = [str(path.relative_to(PROTOS)) for path in sources]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOS}", *plugins, *outputs, *files], check=True)


def generate_go(out: Path) -> None:
    """Write the Go stubs below *out*."""
    buf = BIN / "buf" if (BIN / "buf").exists() else Path("buf")
    subprocess.run([str(buf), "generate", "--output", str(out)], check=True, cwd=ROOT)


def settle(made: Path, language: tuple[str, str], check: bool) -> list[str]:
    """Put a language's new files in place or, to check, return the names of those that differ."""
    new, old = (base / language[0] / language[1] for base in (made, ROOT))
    if check:
        return list(differing(new, old))
    shutil.rmtree(old, ignore_errors=True)
    shutil.copytree(new, old)
    return []


def differing(new: Path, old: Path) -> Iterator[str]:
    """Name the files that are in one folder only, or not the same in both."""
    names = {path.name for base in (new, old) if base.exists() for path in base.iterdir() if path.is_file()}
    for name in sorted(names):
        both = (new / name).exists() and (old / name).exists()
        if not both or not filecmp.cmp(new / name, old / name, shallow=False):
            yield str((old / name).relative_to(ROOT))


if __name__ == "__main__":
    sys.exit(main())
