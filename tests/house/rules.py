"""The rules of the house, as functions from a module's text to the faults in it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

SERVER = Path(__file__).parents[2] / "server" / "tradewind_server"

#: Room -> rooms it may import. A room is a package or a module directly below tradewind_server.
ROOMS: dict[str, frozenset[str]] = {}


def _room(name: str, *below: str) -> None:
    ROOMS[name] = frozenset({name, *below}).union(*(ROOMS[other] for other in below))


_room("errors")
_room("settings")
_room("clock")
_room("ids")
_room("event_loop")
_room("one_core")
_room("on_demand")
_room("garbage")
_room("lang", "errors", "settings")
_room("pictures", "lang")
_room("engine", "lang")
_room("store", "engine", "on_demand")
_room("runtime", "store", "clock", "ids", "garbage")
_room("actions", "runtime")
_room("api", "runtime")
_room("console", "runtime")
_room("bootstrap", "api", "actions", "console")
_room("cli", "bootstrap", "pictures", "event_loop", "one_core", "garbage")
_room("testing", "bootstrap")

#: Beyond the table: the form in which moments are stored is the clock's, and the store writes it.
STORE_MAY_TAKE_FROM_CLOCK = frozenset({"to_microseconds", "from_microseconds"})
#: Module -> a module beyond the table that it may import all the same, inside of functions only. Nothing in production
#: imports testing: `tradewind test` is a tool for those who write workflows, and no other command loads what it needs.
BEYOND_THE_TABLE = {"cli/testing.py": "tradewind_server.testing.cases"}
#: Who may import the protos' stubs, and who the client.
SPEAKS_PROTO = frozenset({"api", "console", "cli", "bootstrap", "testing"})
IS_A_CLIENT = frozenset({"cli", "testing"})

#: Modules that a pure room may not import.
IMPURE = frozenset(
    {"asyncio", "grpc", "google", "logging", "os", "random", "secrets", "socket", "sqlalchemy", "threading", "time"}
)
PURE = frozenset({"lang", "pictures", "engine"})

#: Names that say nothing.
NAMELESS = frozenset({"utils", "util", "common", "helpers", "helper", "base", "manager", "handler", "handlers", "misc"})
MAX_LINES = 600

#: Module -> why it may measure time by itself all the same.
MEASURES_TIME = {
    "event_loop.py": "is asyncio's clock",
    "one_core.py": "what part of the time threads wait for a core; no moment of it is stored",
    "runtime/batch.py": "bounds its own CPU time; no moment of it is stored",
    "runtime/bulletin.py": "how long another server has been silent; no moment of it is stored",
    "store/writer.py": "waits for a lost backend to be gone; no moment of it is stored",
    "cli/listing.py": "turns ages that the user gives into moments, not in a server",
    "cli/reaching.py": "looks for so long, at the user's terminal, not in a server",
    "cli/running.py": "waits at the user's terminal, not in a server",
    "cli/watching.py": "shows ages at the user's terminal, not in a server",
}
#: Module -> lines it has been granted until it is split.
GRANTED_LINES: dict[str, int] = {}


def modules() -> list[Path]:
    """Return all modules of the server."""
    return sorted(SERVER.rglob("*.py"))


def place(path: Path) -> str:
    """Return the path of a module below tradewind_server."""
    return path.relative_to(SERVER).as_posix()


def room_of(where: str) -> str:
    """Return the room of the module at *where*; "" for tradewind_server itself."""
    first = PurePosixPath(where).parts[0]
    return "" if first == "__init__.py" else first.removesuffix(".py")


def imported(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Return (module, name) of every import, those on demand too; the name is "" for `import module`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (((node.module or ""), alias.name) for alias in node.names)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "OnDemand":
            yield from ((ast.literal_eval(module), "") for module in node.args)


def import_faults(where: str, text: str) -> list[str]:
    """Return the imports of a module that go against the table."""
    room = room_of(where)
    tree = ast.parse(text)
    beyond = _granted_imports(where, tree)
    return [
        f"{room or 'tradewind_server'} imports {module} ({name or 'whole'})"
        for module, name in imported(tree)
        if not _may_import(room, module, name) and (module, name) not in beyond
    ]


def _granted_imports(where: str, tree: ast.Module) -> set[tuple[str, str]]:
    """Return the imports that `BEYOND_THE_TABLE` allows; none of those that run when the module is loaded."""
    granted = BEYOND_THE_TABLE.get(where)
    at_start = {pair for node in tree.body if not isinstance(node, _LATER) for pair in imported(node)}
    return {(module, name) for module, name in imported(tree) if granted in (module, f"{module}.{name}")} - at_start


#: Statements whose imports do not run when a module is loaded; the `if` of a module is `if TYPE_CHECKING`.
_LATER = ast.FunctionDef | ast.AsyncFunctionDef | ast.If


def _may_import(room: str, module: str, name: str) -> bool:
    parts = module.split(".")
    if parts[0] == "tradewind":
        return room in (SPEAKS_PROTO if parts[:2] == ["tradewind", "v1"] or name == "v1" else IS_A_CLIENT)
    if parts[0] != "tradewind_server":
        return room not in PURE or parts[0] not in IMPURE
    target = parts[1] if len(parts) > 1 else name
    if not room or target == "__version__":
        return target == "__version__"
    if (room, target) == ("store", "clock"):
        return name in STORE_MAY_TAKE_FROM_CLOCK
    return target in ROOMS[room]


def local_import_faults(where: str, text: str) -> list[str]:
    """Return imports inside of functions; the command line may have them, to start quickly."""
    if room_of(where) == "cli":
        return []
    functions = (n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
    return [f"{f.name} imports {module}" for f in functions for module, _ in imported(f)]


def chance_faults(where: str, text: str) -> list[str]:
    """Return uses of time and chance outside of clock.py and ids.py."""
    tree = ast.parse(text)
    room = room_of(where)
    if room == "testing":
        return []
    names = {module for module, _ in imported(tree)}
    faults = []
    if room != "clock" and where not in MEASURES_TIME:
        faults += [f"imports {name}" for name in names & {"time"}]
        faults += [f"calls {said}" for said in _calls(tree) if said in _NOW]
    if room != "ids":
        # a UUID made of given bytes is no chance: the engine derives its ids by hashing
        faults += [f"imports {name}" for name in names & {"random", "secrets"}]
        faults += [f"calls {said}" for said in _calls(tree) if said in _CHANCE]
    return faults


_NOW = frozenset({"datetime.now", "datetime.utcnow", "datetime.today", "date.today"})
_NOW |= {f"datetime.{said}" for said in _NOW}
_CHANCE = frozenset({"os.urandom", "uuid.uuid1", "uuid.uuid4", "uuid4", "urandom", "uuid1"})


def _calls(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)


def length_faults(where: str, text: str) -> list[str]:
    """Return whether a module is too long."""
    lines = len(text.splitlines())
    limit = GRANTED_LINES.get(where, MAX_LINES)
    return [f"has {lines} lines; the limit is {limit}"] if lines > limit else []


def name_faults(where: str, text: str) -> list[str]:
    """Return the parts of a module's path that say nothing."""
    return [f"'{part}' says nothing" for part in PurePosixPath(where).with_suffix("").parts if part in NAMELESS]
