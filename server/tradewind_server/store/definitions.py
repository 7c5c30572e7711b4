"""Deployed definitions: immutable versions, and the registry revisions at which names are resolved."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from tradewind_server.engine.calendars import Calendar
from tradewind_server.engine.library import AttachmentLimits, FixedLibrary
from tradewind_server.lang import Source, read
from tradewind_server.lang.named_forms import ORIGIN
from tradewind_server.lang.specs import AdhocActionSpec, FormSpec, Spec, WorkflowSpec
from tradewind_server.lang.standard_actions import Signature
from tradewind_server.lang.values import encode
from tradewind_server.settings import Settings
from tradewind_server.store import schema
from tradewind_server.store.records import Envelope

WORKFLOW, ACTION, FORM = "workflow", "action", "form"


@dataclasses.dataclass(frozen=True, slots=True)
class Definition:
    """One version of a workflow, ad-hoc action or form."""

    namespace: str
    workflow_namespace: str
    kind: str
    name: str
    version: int
    content_hash: str
    registry_revision: int
    #: None while it is current.
    retired_revision: int | None
    file: str
    source: bytes
    description: str
    tags: tuple[str, ...]
    #: JSON: list of [name, required, default].
    inputs: bytes
    deployed_at: int
    actor: str


@dataclasses.dataclass(frozen=True, slots=True)
class Deployed:
    """Outcome of a deployment."""

    revision: int
    #: (definition, whether this deployment made it)
    definitions: tuple[tuple[Definition, bool], ...]


def deploy(
    connection: sa.Connection,
    namespace: str,
    workflow_namespace: str,
    sources: Sequence[tuple[Source, Sequence[Spec]]],
    at: int,
    actor: str,
) -> Deployed:
    """Store the specs of *sources*, those that changed as new versions, within the caller's transaction."""
    revision = _registry_revision(connection, namespace, lock=True)
    made: list[tuple[Definition, bool]] = []
    for source, specs in sources:
        content_hash = hashlib.sha256(source.text.encode()).hexdigest()
        for spec in specs:
            kind = kind_of(spec)
            current = _current(connection, namespace, workflow_namespace, kind, spec.name)
            if current is not None and current.content_hash == content_hash and current.retired_revision is None:
                made.append((current, False))
                continue
            made.append(
                (
                    Definition(
                        namespace, workflow_namespace, kind, spec.name, current.version + 1 if current else 1,
                        content_hash, revision + 1, None, source.file_name, source.text.encode(), spec.description,
                        spec.tags, _inputs(spec), at, actor,
                    ),
                    True,
                )
            )  # fmt: skip
    new = [definition for definition, is_new in made if is_new]
    if new:
        revision += 1
        _write(connection, namespace, revision, new)
    return Deployed(revision, tuple(made))


def kind_of(spec: Spec) -> str:
    """Return the kind of a definition."""
    return WORKFLOW if isinstance(spec, WorkflowSpec) else FORM if isinstance(spec, FormSpec) else ACTION


def _inputs(spec: Spec) -> bytes:
    return encode([[i.name, i.required, i.default] for i in spec.input])


#: Made once: each batch with a start asks, and building the query takes longer than the answer.
_REVISION = sa.select(schema.registry.c.revision).where(schema.registry.c.namespace == sa.bindparam("namespace"))


def _registry_revision(connection: sa.Connection, namespace: str, *, lock: bool) -> int:
    query = _REVISION
    if lock and connection.dialect.name == "postgresql":
        connection.exec_driver_sql(
            "INSERT INTO registry (namespace, revision) VALUES (%s, 0) ON CONFLICT (namespace) DO NOTHING", (namespace,)
        )
        query = query.with_for_update()
    return int(connection.execute(query, {"namespace": namespace}).scalar() or 0)


def registry_revision(connection: sa.Connection, namespace: str) -> int:
    """Return the namespace's current registry revision; 0 before the first deployment."""
    return _registry_revision(connection, namespace, lock=False)


def _write(connection: sa.Connection, namespace: str, revision: int, new: Sequence[Definition]) -> None:
    table = schema.definitions
    for d in new:
        retire(connection, namespace, d.workflow_namespace, d.kind, d.name, revision)
        connection.execute(table.insert().values(**{**dataclasses.asdict(d), "tags": "\n".join(d.tags)}))
    _set_revision(connection, namespace, revision)


def _set_revision(connection: sa.Connection, namespace: str, revision: int) -> None:
    table = schema.registry
    changed = connection.execute(table.update().where(table.c.namespace == namespace).values(revision=revision))
    if not changed.rowcount:
        connection.execute(table.insert().values(namespace=namespace, revision=revision))


def retire(
    connection: sa.Connection, namespace: str, workflow_namespace: str, kind: str, name: str, revision: int
) -> int:
    """Let the current version of a definition end at *revision*; return how many there were."""
    t = schema.definitions
    update = t.update().where(
        t.c.namespace == namespace,
        t.c.workflow_namespace == workflow_namespace,
        t.c.kind == kind,
        t.c.name == name,
        t.c.retired_revision.is_(None),
    )
    return connection.execute(update.values(retired_revision=revision)).rowcount


def delete(connection: sa.Connection, namespace: str, workflow_namespace: str, kind: str, name: str) -> int:
    """Retire a definition within the caller's transaction; return the new registry revision, 0 when there is none."""
    revision = _registry_revision(connection, namespace, lock=True) + 1
    if not retire(connection, namespace, workflow_namespace, kind, name, revision):
        return 0
    _set_revision(connection, namespace, revision)
    return revision


def _current(
    connection: sa.Connection, namespace: str, workflow_namespace: str, kind: str, name: str
) -> Definition | None:
    """Return the newest version, retired or not."""
    return get(connection, namespace, workflow_namespace, kind, name, 0, include_retired=True)


def get(
    connection: sa.Connection,
    namespace: str,
    workflow_namespace: str,
    kind: str,
    name: str,
    version: int,
    *,
    include_retired: bool = False,
) -> Definition | None:
    """Return one version, or the current one for version 0; None when there is none."""
    t = schema.definitions
    query = sa.select(t).where(
        t.c.namespace == namespace,
        t.c.workflow_namespace == workflow_namespace,
        t.c.kind == kind,
        t.c.name == name,
    )
    if version:
        query = query.where(t.c.version == version)
    elif not include_retired:
        query = query.where(t.c.retired_revision.is_(None))
    row = connection.execute(query.order_by(t.c.version.desc()).limit(1)).one_or_none()
    return None if row is None else definition_of(row._mapping)


def get_as_of(
    connection: sa.Connection, namespace: str, workflow_namespace: str, kind: str, name: str, revision: int
) -> Definition:
    """Return the version that was current at the registry's *revision*, which had one."""
    t = schema.definitions
    query = sa.select(t).where(
        t.c.namespace == namespace,
        t.c.workflow_namespace == workflow_namespace,
        t.c.kind == kind,
        t.c.name == name,
        t.c.registry_revision <= revision,
    )
    return definition_of(connection.execute(query.order_by(t.c.version.desc()).limit(1)).one()._mapping)


def workflow_of(connection: sa.Connection, execution: Any) -> WorkflowSpec | None:
    """Return what the execution of a row runs, for readers; None if the definition is gone.

    A sub-workflow may stand in the default workflow namespace instead of its own.
    """
    for workflow_namespace in dict.fromkeys((execution.workflow_namespace, "")):
        version, name = execution.definition_version, execution.workflow
        found = get(connection, execution.namespace, workflow_namespace, WORKFLOW, name, version)
        if found is not None:
            spec = _specs(found.file, found.source.decode())[WORKFLOW, name]
            assert isinstance(spec, WorkflowSpec)
            return spec
    return None


def definition_of(row: Mapping[Any, Any]) -> Definition:
    """Return a row of `definitions` as a record."""
    values = dict(row)
    tags = str(values["tags"])
    values["tags"] = tuple(tags.split("\n")) if tags else ()
    values["source"], values["inputs"] = bytes(values["source"]), bytes(values["inputs"])
    return Definition(**values)


@functools.lru_cache(maxsize=512)
def _specs(file: str, text: str) -> dict[tuple[str, str], Spec]:
    checked = read([Source(file, text)])
    specs: list[Spec] = [*checked.workflows, *checked.actions, *checked.forms]
    return {(kind_of(spec), spec.name): spec for spec in specs}


def form_of(found: Definition) -> Mapping[str, object]:
    """Return the schema of a version of a form."""
    spec = _specs(found.file, found.source.decode())[FORM, found.name]
    assert isinstance(spec, FormSpec)
    return spec.schema


def _shown(found: Definition, spec: FormSpec) -> Mapping[str, object]:
    """Return the schema as human tasks show it: with its name and version."""
    return {ORIGIN: f"{found.name}@{found.version}", **spec.schema}


def _all_versions(connection: sa.Connection, key: tuple[str, str, int]) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Give each version of a form as of a registry revision by name@version."""
    namespace, workflow_namespace, revision = key
    t = schema.definitions
    query = sa.select(t).where(
        t.c.namespace == namespace,
        t.c.workflow_namespace.in_(["", workflow_namespace]),
        t.c.kind == FORM,
        t.c.registry_revision <= revision,
    )
    for row in connection.execute(query.order_by(t.c.workflow_namespace)):
        found = definition_of(row._mapping)
        spec = _specs(found.file, found.source.decode())[FORM, found.name]
        assert isinstance(spec, FormSpec)
        yield f"{found.name}@{found.version}", _shown(found, spec)


class Registry:
    """Specs as of registry revisions. Read through one connection, by one thread; cached."""

    def __init__(
        self,
        signatures: Mapping[str, Signature],
        open_world: bool,
        settings: Settings,
        calendars: Mapping[str, Calendar],
        etag_key: bytes = b"",
    ) -> None:
        self._signatures = signatures
        self._etag_key = etag_key
        limits = {field.name: getattr(settings, field.name) for field in dataclasses.fields(AttachmentLimits)}
        self._attachment_limits = AttachmentLimits(**limits)
        self._calendars = calendars
        self._open_world = open_world
        self._settings = settings
        self._libraries: dict[tuple[str, str, int], FixedLibrary] = {}
        self._versions: dict[tuple[str, str, int], dict[str, int]] = {}
        self._homes: dict[tuple[str, str, int], dict[str, str]] = {}
        self._pinned: dict[tuple[str, str, str, int], WorkflowSpec] = {}

    def library(
        self, connection: sa.Connection, namespace: str, workflow_namespace: str, revision: int
    ) -> FixedLibrary:
        """Return what names mean in *namespace* as of *revision*."""
        key = (namespace, workflow_namespace, revision)
        if key not in self._libraries:
            self._read(connection, key)
        return self._libraries[key]

    def forget(self, namespace: str) -> None:
        """Drop what was read for *namespace* in a transaction that may not come to be."""
        for key in [key for key in self._libraries if key[0] == namespace]:
            del self._libraries[key]
            self._versions.pop(key, None)
            self._homes.pop(key, None)
        for pinned in [pinned for pinned in self._pinned if pinned[0] == namespace]:
            del self._pinned[pinned]

    def home(self, connection: sa.Connection, envelope: Envelope) -> str:
        """Return the workflow namespace in which the workflow of *envelope* really stands: its own or the default.

        Only a sub-workflow falls back; a root stands in the one that its start named, whatever is deployed there now.
        """
        if not envelope.parent_id:
            return envelope.workflow_namespace
        key = (envelope.namespace, envelope.workflow_namespace, envelope.registry_revision)
        return self._home(connection, key, envelope.workflow)

    def _home(self, connection: sa.Connection, key: tuple[str, str, int], name: str) -> str:
        if key not in self._libraries:
            self._read(connection, key)
        return self._homes[key].get(name, key[1])

    def own_version(
        self, connection: sa.Connection, namespace: str, workflow_namespace: str, revision: int, name: str
    ) -> int:
        """Return the version of the workflow *name* that stands in that very workflow namespace; 0 for none."""
        found = self.version(connection, namespace, workflow_namespace, revision, name)
        is_own = self._home(connection, (namespace, workflow_namespace, revision), name) == workflow_namespace
        return found if is_own else 0

    def version(
        self, connection: sa.Connection, namespace: str, workflow_namespace: str, revision: int, name: str
    ) -> int:
        """Return the version of the workflow *name* as of *revision*; 0 when there is none."""
        key = (namespace, workflow_namespace, revision)
        if key not in self._libraries:
            self._read(connection, key)
        return self._versions[key].get(name, 0)

    def pinned(
        self, connection: sa.Connection, namespace: str, workflow_namespace: str, name: str, version: int
    ) -> WorkflowSpec | None:
        """Return one version of a workflow, current or not."""
        key = (namespace, workflow_namespace, name, version)
        if key not in self._pinned:
            found = get(connection, namespace, workflow_namespace, WORKFLOW, name, version)
            if found is None:
                return None
            spec = _specs(found.file, found.source.decode())[WORKFLOW, name]
            assert isinstance(spec, WorkflowSpec)
            self._pinned[key] = spec
        return self._pinned[key]

    def _read(self, connection: sa.Connection, key: tuple[str, str, int]) -> None:
        namespace, workflow_namespace, revision = key
        t = schema.definitions
        query = sa.select(t).where(
            t.c.namespace == namespace,
            t.c.workflow_namespace.in_(["", workflow_namespace]),
            t.c.registry_revision <= revision,
            sa.or_(t.c.retired_revision.is_(None), t.c.retired_revision > revision),
        )
        workflows: dict[str, WorkflowSpec] = {}
        actions: dict[str, AdhocActionSpec] = {}
        forms: dict[str, Mapping[str, object]] = {}
        versions: dict[str, int] = {}
        homes: dict[str, str] = {}
        # the default workflow namespace first: names of the other shadow it
        for row in connection.execute(query.order_by(t.c.workflow_namespace)):
            found = definition_of(row._mapping)
            spec = _specs(found.file, found.source.decode())[found.kind, found.name]
            if isinstance(spec, WorkflowSpec):
                workflows[found.name], versions[found.name] = spec, found.version
                homes[found.name] = found.workflow_namespace
            elif isinstance(spec, FormSpec):
                forms[found.name] = _shown(found, spec)
            else:
                actions[found.name] = spec
        if any(task.human and "@" in task.human.form_name for w in workflows.values() for task in w.tasks.values()):
            forms.update(_all_versions(connection, key))
        if len(self._libraries) >= 1024:
            self._libraries.clear()
            self._versions.clear()
            self._homes.clear()
        self._libraries[key] = FixedLibrary(
            workflows,
            actions,
            self._signatures,
            forms,
            self._open_world,
            self._settings.max_payload_bytes,
            self._settings.max_execution_tasks,
            self._calendars,
            self._settings.notify_asked,
            self._etag_key,
            self._attachment_limits,
        )
        self._versions[key] = versions
        self._homes[key] = homes
