"""What the committer does for subscriptions: requests, and how each is carried out within a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tradewind_server.errors import RequestIdReused, SubscriptionWrongState
from tradewind_server.runtime.notify import PREFIX
from tradewind_server.runtime.requests import Request
from tradewind_server.store import log, parked, webhooks
from tradewind_server.store import subscriptions as store
from tradewind_server.store.log import Place
from tradewind_server.store.parked import Parked
from tradewind_server.store.records import Claim
from tradewind_server.store.subscriptions import Start, Subscription
from tradewind_server.store.unit_of_work import Transaction
from tradewind_server.store.webhooks import Webhook


class SubscriptionRequest(Request, kw_only=True):
    """Something about one subscription."""

    namespace: str
    name: str
    #: Digest of all that makes the request what it is; the same request id with another digest is refused.
    digest: str = ""


class Create(SubscriptionRequest, kw_only=True):
    """Make a subscription. Answer: (Subscription, whether it is new)."""

    wanted: Subscription
    start: Start


class Change(SubscriptionRequest, kw_only=True):
    """Change columns of a subscription. Answer: Subscription."""

    changes: Mapping[str, object]
    etag: str = ""


class Delete(SubscriptionRequest, kw_only=True):
    """Remove a subscription. Answer: None."""

    etag: str


class Rewind(SubscriptionRequest, kw_only=True):
    """Move the place of a subscription. Answer: Subscription."""

    to: Start


class Take(SubscriptionRequest, kw_only=True):
    """Become the consumer of a subscription. Answer: Subscription."""

    owner: str
    consumer: str
    #: Where the consumer knows to be; None: where the subscription is.
    place: Place | None


class Advance(SubscriptionRequest, kw_only=True):
    """Move the place forward. Answer: whether the subscription is still that of the epoch."""

    epoch: int
    place: Place
    at: int


class Lease(SubscriptionRequest, kw_only=True):
    """Become the server that sends to a webhook. Answer: Subscription, or None: another one is, or nobody should."""

    owner: str
    at: int
    #: A lease that ends by then is free.
    ended_by: int
    until: int


class Deliver(SubscriptionRequest, kw_only=True):
    """Write down what was sent. Answer: whether the subscription is still that of the epoch; else nothing happens."""

    epoch: int
    at: int
    #: Until when more is sent without being written down; now: the server sends no more.
    lease_until: int
    #: Up to here everything is sent or parked.
    place: Place
    progress: Sequence[Parked] = ()
    following: Sequence[Parked] = ()
    #: Why the subscription is to be disabled, or "".
    disable: str = ""


class RetryDead(SubscriptionRequest, kw_only=True):
    """Have dead letters sent again; all if none is named. Answer: how many."""

    executions: Sequence[str]
    at: int


class DiscardDead(SubscriptionRequest, kw_only=True):
    """Give dead letters up; all if none is named. Answer: how many."""

    executions: Sequence[str]
    at: int


class Subscriptions:
    """Carries out the requests of one batch."""

    def __init__(self, transaction: Transaction, claims_until: int) -> None:
        self._tx = transaction
        #: When request ids that come now are forgotten, microseconds.
        self._claims_until = claims_until

    def carry_out(self, request: SubscriptionRequest) -> object:
        """Return the answer of *request*.

        Raises:
            Refusal: nothing has been changed.
        """
        key = (request.namespace, "request", f"subscription/{request.provenance.request_id}")
        if request.provenance.request_id:
            held = self._tx.find_claims([key]).get(key)
            if held is not None:
                return self._repeated(request, held)
        answer = _HANDLERS[type(request)](self, request)
        self._tx.has_written = True
        if request.provenance.request_id:
            self._tx.claim([Claim(*key, request.name, request.digest, 0, self._claims_until)])
        return answer

    def notify(self, namespace: str, count: int, at: int) -> None:
        """See that there are subscriptions for so many targets of an execution that this transaction starts."""
        connection = self._tx.connection
        for number in range(count):
            name = f"{PREFIX}{number}"
            if store.exists(connection, namespace, name):
                continue
            place = log.within(self._tx.database, connection, self._tx.xid)
            description = "Sends the events of executions to the targets of their start parameter notify."
            wanted = Subscription(
                namespace, name, description, "", webhooks.encode(Webhook(url="")), created_at=at, updated_at=at,
                actor="system:notify",
            )  # fmt: skip
            store.create(connection, wanted.at(place))

    def _repeated(self, request: SubscriptionRequest, held: Claim) -> object:
        if held.digest != request.digest:
            raise RequestIdReused(request_id=request.provenance.request_id, field="request_id")
        if isinstance(request, Delete):
            return None
        if isinstance(request, RetryDead | DiscardDead):
            return 0
        found = store.get(self._tx.connection, request.namespace, request.name)
        return (found, False) if isinstance(request, Create) else found

    def _create(self, request: Create) -> object:
        connection = self._tx.connection
        place = store.find(self._tx.database, connection, request.namespace, request.start)
        return store.create(connection, request.wanted.at(place))

    def _change(self, request: Change) -> object:
        connection, wanted = self._tx.connection, request.changes.get("webhook")
        if wanted is not None:
            found = store.get(connection, request.namespace, request.name)
            if bool(found.webhook) is not bool(wanted):
                expected, problem = _KINDS[bool(wanted)]
                raise SubscriptionWrongState(name=request.name, expected=expected, problem=problem)
        return store.change(connection, request.namespace, request.name, request.etag, **request.changes)

    def _delete(self, request: Delete) -> object:
        store.delete(self._tx.connection, request.namespace, request.name, request.etag)
        return None

    def _rewind(self, request: Rewind) -> object:
        connection = self._tx.connection
        place = store.find(self._tx.database, connection, request.namespace, request.to)
        return store.move(connection, request.namespace, request.name, place)

    def _take(self, request: Take) -> object:
        connection, namespace, name = self._tx.connection, request.namespace, request.name
        found = store.get(connection, namespace, name)
        if found.webhook:
            raise SubscriptionWrongState(name=name, expected=_KINDS[False][0], problem=_KINDS[False][1])
        if found.state != store.ACTIVE:
            problem = f"it is {found.state}: {found.message or 'no reason was given'}"
            raise SubscriptionWrongState(name=name, expected="ACTIVE", problem=problem)
        place = store.find(self._tx.database, connection, namespace, Start(after=request.place or found.place))
        if request.place is not None:
            store.move(connection, namespace, name, place)
        return store.take(connection, namespace, name, owner=request.owner, consumer=request.consumer)

    def _advance(self, request: Advance) -> object:
        return store.advance(
            self._tx.connection, request.namespace, request.name, request.epoch, request.place, request.at
        )

    def _lease(self, request: Lease) -> object:
        connection, namespace, name = self._tx.connection, request.namespace, request.name
        leased = store.lease(
            connection, namespace, name, owner=request.owner, ended_by=request.ended_by, until=request.until
        )
        if leased is not None:
            parked.take_over(connection, namespace, name, request.at)
        return leased

    def _deliver(self, request: Deliver) -> object:
        connection, namespace, name = self._tx.connection, request.namespace, request.name
        if not store.renew(connection, namespace, name, request.epoch, request.lease_until):
            return False
        store.advance(connection, namespace, name, request.epoch, request.place, request.at)
        parked.note(connection, self._tx.dialect, request.progress, request.following)
        if request.disable:
            changes = {"state": store.DISABLED, "message": request.disable, "updated_at": request.at}
            store.change(connection, namespace, name, "", **changes, actor=request.provenance.actor)
            return False
        return True

    def _retry(self, request: RetryDead) -> object:
        store.get(self._tx.connection, request.namespace, request.name)
        return parked.retry(self._tx.connection, request.namespace, request.name, request.executions, request.at)

    def _discard(self, request: DiscardDead) -> object:
        connection, dialect = self._tx.connection, self._tx.dialect
        store.get(connection, request.namespace, request.name)
        return parked.discard(connection, dialect, request.namespace, request.name, request.executions, request.at)


#: Whether a webhook is wanted -> what was expected, and what is there.
_KINDS = {
    True: ("one with a webhook", "a consumer takes its events"),
    False: ("one that a consumer takes", "it has a webhook"),
}

_HANDLERS: Mapping[type[SubscriptionRequest], Callable[[Subscriptions, Any], object]] = {
    Create: Subscriptions._create,
    Change: Subscriptions._change,
    Delete: Subscriptions._delete,
    Rewind: Subscriptions._rewind,
    Take: Subscriptions._take,
    Advance: Subscriptions._advance,
    Lease: Subscriptions._lease,
    Deliver: Subscriptions._deliver,
    RetryDead: Subscriptions._retry,
    DiscardDead: Subscriptions._discard,
}
#: What `carry_out` takes.
KINDS = tuple(_HANDLERS)
