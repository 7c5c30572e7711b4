"""What one batch does about things that are no execution: definitions, environments, absences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tradewind_server.clock import to_microseconds
from tradewind_server.errors import DefinitionNotFound
from tradewind_server.errors.people import AbsenceNotFound, PersonNotManager
from tradewind_server.lang.specs import WorkflowSpec
from tradewind_server.runtime import requests as r
from tradewind_server.runtime.claims import Claims
from tradewind_server.store import absences, definitions, environments, substitutes
from tradewind_server.store.definitions import Registry
from tradewind_server.store.unit_of_work import Transaction


class Keeping:
    """Carries out the requests of one batch."""

    def __init__(self, transaction: Transaction, claims: Claims, registry: Registry) -> None:
        self._tx = transaction
        self._claims = claims
        self._registry = registry
        #: namespace -> its registry's revision: read anew by each batch, since another server may have deployed.
        self._revisions: dict[str, int] = {}

    def carry_out(self, request: r.Request) -> object:
        """Return the answer of *request*.

        Raises:
            Refusal: it cannot be carried out; nothing has changed.
        """
        return KEPT[type(request)](self, request)

    def registry_revision(self, namespace: str) -> int:
        """Return how often something was deployed into a namespace, as of this batch."""
        if namespace not in self._revisions:
            self._revisions[namespace] = definitions.registry_revision(self._tx.connection, namespace)
        return self._revisions[namespace]

    def _deploy(self, request: r.Deploy) -> object:
        if (before := self._claims.settle_change(request)) is not None:
            return self._deployed_before(request, *before)
        deployed = definitions.deploy(
            self._tx.connection,
            request.namespace,
            request.workflow_namespace,
            request.sources,
            to_microseconds(request.at),
            request.provenance.actor,
        )
        self._claims.note_change(request, deployed.revision, is_new=any(is_new for _, is_new in deployed.definitions))
        self._registry_changed(request)
        return deployed

    def _deployed_before(self, request: r.Deploy, revision: int, is_new: bool) -> definitions.Deployed:
        names = [
            (definitions.WORKFLOW if isinstance(spec, WorkflowSpec) else definitions.ACTION, spec.name)
            for _, specs in request.sources
            for spec in specs
        ]
        found = [
            definitions.get_as_of(
                self._tx.connection, request.namespace, request.workflow_namespace, kind, name, revision
            )
            for kind, name in names
        ]
        return definitions.Deployed(revision, tuple((d, is_new and d.registry_revision == revision) for d in found))

    def _registry_changed(self, request: r.RegistryChange) -> None:
        self._registry.forget(request.namespace)
        self._revisions.pop(request.namespace, None)
        self._tx.has_written = True

    def _delete_definition(self, request: r.DeleteDefinition) -> object:
        if (before := self._claims.settle_change(request)) is not None:
            return before[0]
        revision = definitions.delete(
            self._tx.connection, request.namespace, request.workflow_namespace, request.kind, request.name
        )
        if not revision:
            self._claims.drop(request)
            raise DefinitionNotFound(
                what=request.kind, name=request.name, workflow_namespace=request.workflow_namespace, field="name"
            )
        self._claims.note_change(request, revision, is_new=True)
        self._registry_changed(request)
        return revision

    def _put_environment(self, request: r.PutEnvironment) -> object:
        answer = environments.put(self._tx.connection, request.wanted, request.etag)
        self._tx.has_written = True
        return answer

    def _delete_environment(self, request: r.DeleteEnvironment) -> object:
        environments.delete(self._tx.connection, request.namespace, request.name, request.etag)
        self._tx.has_written = True
        return None

    def _add_absence(self, request: r.AddAbsence) -> object:
        absences.add(self._tx.connection, request.absence)
        # what somebody is asked at this very moment is told when the absence is looked at once more
        substitutes.tell(self._tx.connection, self._tx.dialect, [request.absence], self._tx.at)
        self._tx.has_written = True
        return None

    def _announce_absences(self, request: r.AnnounceAbsences) -> object:
        self._tx.has_written = True
        return substitutes.announce(self._tx.connection, self._tx.dialect, to_microseconds(request.at))

    def _remove_absence(self, request: r.RemoveAbsence) -> object:
        found = absences.get(self._tx.connection, request.namespace, request.id, to_microseconds(request.at))
        if found is None:
            raise AbsenceNotFound(absence=request.id, field="absence_id")
        if request.person.user != found.user and not request.person.may_manage:
            raise PersonNotManager(user=request.person.user)
        absences.remove(self._tx.connection, request.namespace, request.id)
        self._tx.has_written = True
        return None


KEPT: dict[type[r.Request], Callable[[Keeping, Any], object]] = {
    r.Deploy: Keeping._deploy,
    r.DeleteDefinition: Keeping._delete_definition,
    r.PutEnvironment: Keeping._put_environment,
    r.DeleteEnvironment: Keeping._delete_environment,
    r.AddAbsence: Keeping._add_absence,
    r.AnnounceAbsences: Keeping._announce_absences,
    r.RemoveAbsence: Keeping._remove_absence,
}
