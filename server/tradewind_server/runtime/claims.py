"""Claims: request ids, callers' execution ids and business keys, within one batch.

They come first in a batch, sorted by key: that is the order of locks everywhere. What a request claims and then does
not need, since it is refused or left to the next batch, is freed in the same transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec

from tradewind_server.engine import commands as c
from tradewind_server.errors import BusinessKeyInUse, ExecutionExists, RequestIdReused
from tradewind_server.runtime import requests as r
from tradewind_server.store.records import Claim
from tradewind_server.store.unit_of_work import ClaimKey, Transaction, business_claim, claim_key

#: Revision in the claim of a start's request id: it made the execution, or found one that was there before.
_MADE, _BEFORE = 1, 0
_CHANGED, _UNCHANGED = "changed", "unchanged"


class Claims:
    """The claims that one batch takes, finds and frees."""

    def __init__(self, transaction: Transaction, expires: int) -> None:
        self._tx = transaction
        #: When request ids claimed now are forgotten, microseconds.
        self._expires = expires
        self._held: dict[ClaimKey, Claim] = {}
        self._new: list[Claim] = []
        self._free: list[ClaimKey] = []
        #: Execution to be revived -> the claim on the business key of its tree.
        self._revivals: dict[str, Claim] = {}
        #: Business keys that a revival of this batch has come to need.
        self._kept: set[ClaimKey] = set()

    def take(self, requests: Sequence[r.Request]) -> Callable[[], None]:
        """Claim what *requests* need; what is returned learns what came of it."""
        wanted: dict[ClaimKey, Claim] = {}
        for request in requests:
            if isinstance(request, r.Start):
                for claim in self._of_start(request):
                    wanted.setdefault(claim_key(claim), claim)
            elif isinstance(request, r.RegistryChange):
                for claim in self._of_change(request):
                    wanted.setdefault(claim_key(claim), claim)
        revivals = [q.target for q in requests if isinstance(q, r.Command) and _revives(q)]
        self._revivals = self._tx.business_keys(revivals)
        for claim in self._revivals.values():
            wanted.setdefault(claim_key(claim), claim)
        held = self._tx.claim(wanted.values())
        return lambda: self._learn(wanted, held())

    def _learn(self, wanted: dict[ClaimKey, Claim], held: dict[ClaimKey, Claim]) -> None:
        self._held.update(wanted | held)
        # what a tree held before is not taken, and so is never dropped
        self._revivals = {
            target: claim
            for target, claim in self._revivals.items()
            if claim_key(claim) not in held or self._held[claim_key(claim)].execution_id != claim.execution_id
        }

    def look_for_repeats(self, requests: Sequence[r.Request]) -> Callable[[], None]:
        """Look for what *requests* may repeat, with their executions locked; what is returned learns it.

        Before, another server might still be carrying out the same command.
        """
        commands = [q for q in requests if isinstance(q, r.Command) and q.provenance.request_id]
        found = self._tx.ask_claims([(q.namespace, "request", _command_key(q)) for q in commands])
        return lambda: self._held.update(found())

    def _of_start(self, request: r.Start) -> list[Claim]:
        wanted = [("request", request.provenance.request_id, self._expires), ("external", request.external_id, 0)]
        if request.business_key:
            wanted.append(("business", business_claim(request.workflow, request.business_key), 0))
        return [
            Claim(request.namespace, kind, key, request.target, request.digest, _MADE, until)
            for kind, key, until in wanted
            if key
        ]

    # --- starts ----------------------------------------------------------------------------------

    def settle(self, request: r.Start) -> tuple[str, bool]:
        """Return the execution that already stands for the request, or "", and whether it did at the first answer.

        Raises:
            Refusal: a key is taken by something else.
        """
        for claim in self._of_start(request):
            held = self._holder(claim)
            if held.execution_id == request.target:
                continue
            if claim.kind == "request":
                if held.digest != request.digest:
                    raise RequestIdReused(request_id=claim.key, field="request_id")
                return held.execution_id, held.revision == _BEFORE
            if claim.kind == "external":
                if held.digest != request.digest:
                    raise ExecutionExists(external_id=claim.key, execution=held.execution_id, field="external_id")
            elif not request.use_existing:
                raise _in_use(claim, held)
            return held.execution_id, True
        return "", False

    def _holder(self, claim: Claim) -> Claim:
        """Return the claim that holds the key: *claim* itself if a refused request of this batch has just freed it."""
        key = claim_key(claim)
        if key not in self._held:
            self._held[key] = claim
            self._new.append(claim)
        return self._held[key]

    def point_to(self, request: r.Start, existing: str) -> None:
        """Let a repeat of *request*, which another execution stands for, have that answer too."""
        self.drop(request)
        for claim in self._of_start(request)[:1]:
            if claim.kind == "request" and claim_key(claim) not in self._held:
                self._holder(msgspec.structs.replace(claim, execution_id=existing, revision=_BEFORE))

    # --- commands --------------------------------------------------------------------------------

    def is_repeated(self, request: r.Command) -> bool:
        """Tell whether *request* has been carried out before.

        Raises:
            RequestIdReused: something else has, under its id.
        """
        held = self._held.get((request.namespace, "request", _command_key(request)))
        if held is None or not request.provenance.request_id:
            return False
        if held.digest != request.digest:
            raise RequestIdReused(request_id=request.provenance.request_id, field="request_id")
        return True

    def check_revival(self, request: r.Command) -> None:
        """See that no other execution has taken the business key meanwhile.

        Raises:
            BusinessKeyInUse: one has.
        """
        claim = self._revivals.get(request.target)
        if claim is not None and (held := self._holder(claim)).execution_id != claim.execution_id:
            raise _in_use(claim, held)

    def note(self, request: r.Command, revision: int) -> None:
        """Remember that *request* has been carried out, which made *revision*."""
        if request.target in self._revivals and _revives(request):
            self._kept.add(claim_key(self._revivals[request.target]))
        if request.provenance.request_id:
            key = (request.namespace, "request", _command_key(request))
            self._held[key] = claim = Claim(*key, request.target, request.digest, revision, self._expires)
            self._new.append(claim)

    # --- changes of the registry -----------------------------------------------------------------

    def _of_change(self, request: r.RegistryChange) -> list[Claim]:
        id_ = request.provenance.request_id
        claim = Claim(request.namespace, "registry", id_, request.ticket, request.digest, 0, self._expires)
        return [claim] if id_ else []

    def settle_change(self, request: r.RegistryChange) -> tuple[int, bool] | None:
        """Return what a request answers that has been carried out before: the revision, and whether it was new.

        Raises:
            RequestIdReused: something else has, under its id.
        """
        for claim in self._of_change(request):
            held = self._holder(claim)
            if held.digest != request.digest:
                raise RequestIdReused(request_id=claim.key, field="request_id")
            if held.execution_id != request.ticket:
                return held.revision, held.execution_id == _CHANGED
        return None

    def note_change(self, request: r.RegistryChange, revision: int, *, is_new: bool) -> None:
        """Remember what *request* is answered."""
        for claim in self._of_change(request):
            self.drop(request)
            outcome = _CHANGED if is_new else _UNCHANGED
            self._held[claim_key(claim)] = done = msgspec.structs.replace(
                claim, execution_id=outcome, revision=revision
            )
            self._new.append(done)

    # --- the end ---------------------------------------------------------------------------------

    def drop(self, request: r.Request) -> None:
        """A request that does not come to be leaves nothing behind."""
        if isinstance(request, r.Start):
            taken: Iterable[Claim] = self._of_start(request)
        elif isinstance(request, r.RegistryChange):
            taken = self._of_change(request)
        else:
            revival = self._revivals.get(request.target)
            taken = [revival] if revival is not None and claim_key(revival) not in self._kept else []
        for claim in taken:
            key = claim_key(claim)
            held = self._held.get(key)
            if held is not None and held.execution_id == claim.execution_id:
                self._free.append(key)
                self._new = [new for new in self._new if claim_key(new) != key]
                del self._held[key]

    def write(self, ended: Sequence[tuple[str, str, str, str]]) -> None:
        """Write what has changed; *ended* are the business keys of executions that ended.

        Args:
            ended: namespace, workflow, key and execution of each.
        """
        if self._free:
            self._tx.release_claims(self._free)
        if ended:
            # only what it holds itself: an execution revived by its child may have lost its key to another meanwhile
            self._tx.release_held([(ns, "business", business_claim(name, key), id_) for ns, name, key, id_ in ended])
        if self._new:
            self._tx.claim(self._new)


def _in_use(claim: Claim, held: Claim) -> BusinessKeyInUse:
    key = claim.key.split("\x1f", 1)[1]
    return BusinessKeyInUse(business_key=key, execution=held.execution_id, field="business_key")


def _revives(request: r.Command) -> bool:
    return isinstance(request.command, c.RerunTask | c.SkipTask)


def _command_key(request: r.Command) -> str:
    return f"{request.target}/{request.provenance.request_id}"
