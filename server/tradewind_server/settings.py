"""Every setting: unit, default, environment variable.

A setting is read from `TRADEWIND_<NAME>`; the command line overrides some. docs/settings.md is held equal by a test.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """How one server runs."""

    #: Where to listen, host:port. Anything but loopback needs TLS or `insecure`.
    listen: str = "127.0.0.1:7233"
    #: SQLAlchemy URL, or a path of an SQLite file; "" is a private temporary file.
    database: str = "tradewind.db"
    #: PEM file of the server's certificate chain; "" means no TLS.
    tls_certificate: str = ""
    #: PEM file of the certificate's private key.
    tls_key: str = ""
    #: PEM file of the authorities whose certificates clients must show; "" means that they need none.
    tls_client_ca: str = ""
    #: YAML file of the tokens that callers must show; "" means that they need none.
    tokens_file: str = ""
    #: File with the secret of a proxy that signs who calls (docs/access.md); "" means that there is none.
    proxy_secret_file: str = ""
    #: Serve without TLS on an address other than loopback.
    insecure: bool = False
    #: Where Prometheus finds /metrics, host:port; "" means nowhere. Anything but loopback needs TLS or `insecure`.
    metrics_listen: str = ""
    #: Serve reflection.
    reflection: bool = True
    #: What becomes of an action that is neither built in nor written in YAML: "wait" for a worker, or "fail" at once,
    #: even if a worker serves it. To fail is for a server that is to have no workers, as `tradewind run` is.
    unknown_actions: str = "wait"
    #: Largest input, result or published value, bytes.
    max_payload_bytes: int = 1024 * 1024
    #: Largest gRPC message, bytes.
    max_message_bytes: int = 4 * 1024 * 1024
    #: Largest attachment of a human task, bytes; it travels in one gRPC message.
    max_attachment_bytes: int = 1024 * 1024
    #: Most attachments that one human task has at a time; what its `minimum` lacks is taken all the same.
    max_attachments: int = 20
    #: Most bytes that the attachments of one human task have together.
    max_attachments_bytes: int = 10 * 1024 * 1024
    #: Most bytes of collected results and contexts of one execution.
    max_execution_bytes: int = 64 * 1024 * 1024
    #: Most tasks of one execution, each round of a loop a new one: a loop without end ends here, as a failure.
    max_execution_tasks: int = 100_000
    #: How deep executions may be nested: a workflow that calls itself without end fails at this depth.
    max_execution_depth: int = 100
    #: Most commands in one batch.
    batch_commands: int = 256
    #: Most rows that one batch produces before it is cut.
    batch_rows: int = 20_000
    #: Most milliseconds of processor time for deciding in one batch; by the clock it is ten times as much.
    batch_decide_ms: int = 25
    #: Most commands that wait; the next one is refused with QUEUE_FULL.
    queue_commands: int = 20_000
    #: Most bytes that waiting commands may hold; the next one is refused with QUEUE_FULL.
    queue_bytes: int = 128 * 1024 * 1024
    #: Most streams open at once.
    max_streams: int = 20_000
    #: Most streams of one client: of a name that is known, else of a machine.
    max_client_streams: int = 10_000
    #: Seconds between two looks for executions that are no longer kept; 0: this server removes none.
    retention_seconds: int = 60
    #: Most rows that are removed at once, beside other commands.
    retention_rows: int = 1_000
    #: Bytes of cached execution state.
    cache_bytes: int = 256 * 1024 * 1024
    #: Seconds an offer may stay unaccepted.
    delivery_lease_seconds: int = 5
    #: Seconds a worker may be silent.
    work_lease_seconds: int = 30
    #: Deliveries without an Accept after which an action is NOT_DELIVERABLE.
    max_deliveries: int = 10
    #: Workers lost right after Accept after which an action is NOT_DELIVERABLE.
    max_losses: int = 3
    #: Most lines that are kept of the log of one offer of an action, the first ones; 0: none.
    max_action_log_lines: int = 1000
    #: Seconds that running work has to answer a cancellation.
    cancel_grace_seconds: int = 30
    #: Seconds a finished request id is remembered.
    request_id_seconds: int = 24 * 3600
    #: Egress of std.http, std.email and std.ssh: allow loopback, private and link-local addresses.
    allow_private_addresses: bool = False
    #: Directory of files that actions may name: private keys, certificates; "" means none.
    files_dir: str = ""
    #: File of the hosts' keys that std.ssh checks, in the format of OpenSSH; "" means that no host is known.
    known_hosts: str = ""
    #: Let std.ssh connect to hosts whose key is not checked.
    insecure_hosts: bool = False
    #: URL under which the call-backs of std.mistral_http reach this installation; "" refuses the action.
    callback_url: str = ""
    #: What the environment variables begin with that hold secrets; "" means that none does.
    secrets_prefix: str = "TRADEWIND_SECRET_"
    #: Directory of files that hold secrets, one a file, named like it; "" means none.
    secrets_dir: str = ""
    #: YAML file of the calendars by which business time counts (docs/human_tasks.md); "" means Monday to Friday, 9 to
    #: 17 UTC, without holidays.
    calendars_file: str = ""
    #: YAML file of the channels over which people are notified (docs/notifications.md); "" means that there are none.
    channels_file: str = ""
    #: YAML file of whom to reach where; it is read again when it changes. "" means that nobody can be reached.
    contacts_file: str = ""
    #: Notify people of human tasks that they are asked to do, where the definition does not say whether.
    notify_asked: bool = False
    #: Whether `server` and `dev` keep their threads on one core while they are busy, one that the kernel chooses. Linux
    #: only. Say no where the process may not call sched_setaffinity, as under systemd's SystemCallFilter=~@resources,
    #: and where somebody else is to say where a running server's threads run (taskset -p).
    one_core: bool = True
    #: Seconds that a stopping server lets calls finish.
    shutdown_grace_seconds: int = 5

    @property
    def beat_seconds(self) -> int:
        """Return how often workers are asked to say that they are there: a beat that is late or lost costs no lease."""
        return max(1, self.work_lease_seconds // 3)


def from_environment(environment: Mapping[str, str] | None = None, **overrides: object) -> Settings:
    """Return the settings of *environment* (default: the process's), with *overrides* that are not None on top.

    Raises:
        ValueError: a variable is not of its setting's type, or out of its range; the text names it.
    """
    environment = os.environ if environment is None else environment
    values: dict[str, object] = {}
    for field in dataclasses.fields(Settings):
        text = environment.get(variable(field.name))
        if text is not None:
            values[field.name] = _parse(field.name, str(field.type), text)
    values.update({name: value for name, value in overrides.items() if value is not None})
    return Settings(**values)  # type: ignore[arg-type]


#: What the command line reads, and no server.
OF_CALLERS = frozenset(
    {"ADDRESS", "GROUPS", "NAMESPACE", "TLS_CA", "TLS_CLIENT_CERTIFICATE", "TLS_CLIENT_KEY", "TOKEN", "USER"}
)
_PREFIX = "TRADEWIND_"
#: How like a setting's name another one is: less, and those that Kubernetes sets for a service are told.
_LIKENESS = 0.75


def misspelt(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the variables of *environment* that are no settings, each with the setting that it is probably meant for.

    Others that begin like ours may be anybody's, such as TRADEWIND_PORT in Kubernetes.
    """
    environment = os.environ if environment is None else environment
    names = [field.name.upper() for field in dataclasses.fields(Settings)]
    secrets = environment.get(variable("secrets_prefix"), Settings().secrets_prefix)
    found = {}
    for text in environment:
        name = text.removeprefix(_PREFIX)
        is_known = name == text or name in names or name in OF_CALLERS or (secrets and text.startswith(secrets))
        if not is_known and (meant := _like(name, names)):
            found[text] = _PREFIX + meant
    return found


def _like(name: str, names: list[str]) -> str:
    """Return which of *names* is most like *name*, or is it but for what it ends with; "" if none is."""
    begun = [other for other in names if name.startswith(f"{other}_") or (len(name) > 5 and other.startswith(name))]
    return next(iter(difflib.get_close_matches(name, names, 1, _LIKENESS) or begun), "")


_CHOICES = {"unknown_actions": ("wait", "fail")}
#: Numbers with which 0 no work could be done: the server would stand still, or refuse whatever comes.
_NOT_ZERO = frozenset(
    {
        "batch_commands",
        "delivery_lease_seconds",
        "max_client_streams",
        "max_deliveries",
        "max_execution_bytes",
        "max_execution_tasks",
        "max_losses",
        "max_message_bytes",
        "max_payload_bytes",
        "max_streams",
        "queue_commands",
        "retention_rows",
        "work_lease_seconds",
    }
)
#: What gRPC takes as a size, and more seconds than anything lasts.
_MOST = 2**31 - 1
#: Room in memory or in a database may be more.
_MAY_BE_MORE = frozenset({"cache_bytes", "max_attachments_bytes", "max_execution_bytes", "queue_bytes"})


def variable(name: str) -> str:
    """Return the environment variable of the setting *name*."""
    return f"{_PREFIX}{name.upper()}"


def _parse(name: str, type_: str, text: str) -> object:
    if type_ == "bool":
        if text.lower() in ("1", "true", "yes", "on"):
            return True
        if text.lower() in ("0", "false", "no", "off", ""):
            return False
        raise ValueError(f"{variable(name)} must be true or false, but is '{text}'")
    if type_ == "int":
        return _number(name, text)
    if text not in _CHOICES.get(name, (text,)):
        raise ValueError(f"{variable(name)} must be {' or '.join(_CHOICES[name])}, but is '{text}'")
    return text


def _number(name: str, text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        raise ValueError(f"{variable(name)} must be a whole number, but is '{text}'") from None
    least, most = int(name in _NOT_ZERO), None if name in _MAY_BE_MORE else _MOST
    if number < least:
        raise ValueError(f"{variable(name)} must be at least {least}, but is {number}")
    if most is not None and number > most:
        raise ValueError(f"{variable(name)} must be at most {most}, but is {number}")
    return number
