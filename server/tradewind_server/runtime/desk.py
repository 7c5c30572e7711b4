"""The desk where actions meet workers: sessions of this server, and the room they have.

The committer takes room from it while it decides (so that a new action is leased in the transaction that made it), the
event loop adds room as workers grant credits. The one lock guards both; nothing waits while it is held.
"""

from __future__ import annotations

import collections
import dataclasses
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

#: Namespace, action, and the target that the task names, or "".
QueueName = tuple[str, str, str]


@dataclasses.dataclass(slots=True)
class Session:
    """One worker that takes actions from this server."""

    id: str
    worker: str
    namespace: str
    #: Action name -> most actions of it at once; 0: no limit of its own.
    limits: Mapping[str, int]
    #: Action name -> the targets it answers to.
    targets: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    #: Version of its program, or "".
    build: str = ""
    #: Id of its process, or "".
    instance: str = ""
    #: It is the server itself, with its built-in actions.
    is_built_in: bool = False
    #: It takes nothing new, by its own word; by an operator's.
    is_going: bool = False
    is_held: bool = False
    #: Actions it may still be given.
    room: int = 0
    #: Actions of each name that it holds.
    held: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)

    def free(self, name: str) -> int:
        """Return how many more actions of *name* it may be given."""
        limit = self.limits[name]
        return min(self.room, limit - self.held[name]) if limit else self.room

    def queues(self) -> Iterator[QueueName]:
        """Return the queues it takes actions from; what has a target waits for a worker that answers to it."""
        for name in self.limits:
            for target in ("", *self.targets.get(name, ())):
                yield self.namespace, name, target


@dataclasses.dataclass(frozen=True, slots=True)
class Staff:
    """The sessions of this server that have to do with a queue."""

    serving: int
    #: Those of them with room for another action.
    free: int
    #: Those that would serve it but take nothing new.
    leaving: int


class Desk:
    """All sessions of this server. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sessions: dict[str, Session] = {}
        self._by_name: dict[QueueName, collections.deque[Session]] = {}
        #: Sessions that finish what they have and take nothing new.
        self._leaving: dict[str, Session] = {}
        #: Queues that are known to be empty but for what this server adds: only there may a new action go straight
        #: to a worker, or it would overtake an older one.
        self._drained: set[QueueName] = set()
        self._is_suspended = False
        #: (namespace, action) of actions with a limit: their queues are never drained, so that nothing goes past it.
        self.limited: frozenset[tuple[str, str]] = frozenset()
        #: Queues of such actions in which there is nothing, or nothing that may go now.
        self._resting: set[QueueName] = set()
        #: Rises when a resting queue may have something that may go.
        self.woken = 0

    def open(self, session: Session) -> None:
        """Take *session* in."""
        with self._lock:
            self._leaving[session.id] = session
            self._place(session)

    def drain(self, session_id: str) -> None:
        """Give the session nothing more, as it says itself; it is still here until it is closed."""
        with self._lock:
            session = self._find(session_id)
            if session is not None:
                session.is_going = True
                self._place(session)

    def hold(self, session_id: str, *, is_held: bool) -> None:
        """Give the session nothing more, or something again, as an operator says."""
        with self._lock:
            session = self._find(session_id)
            if session is not None:
                session.is_held = is_held
                self._place(session)

    def is_leaving(self, session_id: str) -> bool:
        """Tell whether the session takes nothing new."""
        with self._lock:
            return session_id in self._leaving

    def close(self, session_id: str) -> None:
        """Let the session go."""
        with self._lock:
            self._leaving.pop(session_id, None)
            self._withdraw(session_id)

    def _find(self, session_id: str) -> Session | None:
        return self._sessions.get(session_id) or self._leaving.get(session_id)

    def _place(self, session: Session) -> None:
        """Put a session where it belongs: among those that take actions, or those that do not."""
        if session.is_going or session.is_held:
            self._withdraw(session.id)
            self._leaving[session.id] = session
        elif self._leaving.pop(session.id, None) is not None:
            self._sessions[session.id] = session
            for queue in session.queues():
                self._by_name.setdefault(queue, collections.deque()).append(session)

    def _withdraw(self, session_id: str) -> None:
        session = self._sessions.pop(session_id, None)
        if session is None:
            return
        for queue in session.queues():
            self._by_name[queue].remove(session)
            if not self._by_name[queue]:
                del self._by_name[queue]
                self._drained.discard(queue)
                self._resting.discard(queue)

    def grant(self, session_id: str, more: int) -> None:
        """Add room to a session."""
        with self._lock:
            session = self._find(session_id)
            if session is not None:
                session.room += more

    def take(self, queue: QueueName) -> Session | None:
        """Reserve room for one new action, in turn among the sessions; None: it has to be queued."""
        name = queue[1]
        with self._lock:
            if self._is_suspended or queue not in self._drained:
                return None
            sessions = self._by_name[queue]
            for _ in range(len(sessions)):
                session = sessions[0]
                sessions.rotate(-1)
                if session.free(name) > 0:
                    session.room -= 1
                    session.held[name] += 1
                    return session
        return None

    def suspend(self, is_suspended: bool) -> None:
        """Let new actions queue up instead of handing them out, or no longer."""
        with self._lock:
            self._is_suspended = is_suspended

    def reserve(self, session_id: str, name: str, wanted: int) -> int:
        """Reserve room for up to *wanted* queued actions; return for how many."""
        with self._lock:
            session = self._sessions.get(session_id)
            if session is None:
                return 0
            count = max(0, min(wanted, session.free(name)))
            session.room -= count
            session.held[name] += count
            return count

    def give_back(self, session_id: str, name: str, count: int = 1) -> None:
        """Return room that was reserved for an offer that is not made after all."""
        with self._lock:
            session = self._find(session_id)
            if session is not None:
                session.room += count
                session.held[name] -= count

    def settled(self, session_id: str, name: str) -> None:
        """Note that the session no longer holds one action of *name*; room comes back with its next credits."""
        with self._lock:
            session = self._find(session_id)
            if session is not None and session.held[name] > 0:
                session.held[name] -= 1

    def note_queued(self, keys: Collection[QueueName]) -> None:
        """Rows may wait in these queues, or go where a limit kept them."""
        with self._lock:
            self._drained.difference_update(keys)
            if self.limited:
                names = self.limited.intersection(key[:2] for key in keys)
                self._resting = {queue for queue in self._resting if queue[:2] not in names}
                self.woken += bool(names)

    def note_drained(self, keys: Iterable[QueueName]) -> None:
        """These queues were just found empty."""
        with self._lock:
            for key in keys:
                if key in self._by_name:
                    (self._resting if key[:2] in self.limited else self._drained).add(key)

    def note_limited(self, keys: Iterable[QueueName], woken: int) -> None:
        """A limit lets nothing more go from these queues, as it was when `woken` had that value."""
        with self._lock:
            if woken == self.woken:
                self._resting.update(key for key in keys if key in self._by_name)

    def set_limited(self, names: frozenset[tuple[str, str]]) -> None:
        """Learn which actions have a limit; what rested may go now."""
        with self._lock:
            self.limited = names
            self._drained = {queue for queue in self._drained if queue[:2] not in names}
            self._resting.clear()
            self.woken += 1

    def wants(self, session_id: str = "") -> list[tuple[Session, list[tuple[str, str, int]]]]:
        """Return the sessions that have room for actions that may be queued, and how much; or one, if it has."""
        with self._lock:
            found = []
            one = self._sessions.get(session_id)
            asked = self._sessions.values() if not session_id else [] if one is None else [one]
            shut = self._drained | self._resting if self._resting else self._drained
            for session in asked:
                if session.room > 0:
                    open_ = [queue for queue in session.queues() if queue not in shut]
                    wanted = [(n, target, session.free(n)) for _, n, target in open_ if session.free(n) > 0]
                    if wanted:
                        found.append((session, wanted))
            return found

    def serves(self, queue: QueueName) -> bool:
        """Tell whether a session of this server takes actions from *queue*."""
        with self._lock:
            return queue in self._by_name

    def staff(self, queue: QueueName) -> Staff:
        """Tell who takes actions from *queue* here."""
        with self._lock:
            serving = self._by_name.get(queue, ())
            free = sum(session.free(queue[1]) > 0 for session in serving)
            leaving = sum(queue in session.queues() for session in self._leaving.values())
            return Staff(len(serving), free, leaving)

    def connected(self) -> collections.Counter[str]:
        """Return how many sessions of each namespace are open, without the server's own."""
        with self._lock:
            sessions = (*self._sessions.values(), *self._leaving.values())
            return collections.Counter(session.namespace for session in sessions if not session.is_built_in)

    @property
    def count(self) -> int:
        """Return how many sessions are open."""
        with self._lock:
            return len(self._sessions) + len(self._leaving)
