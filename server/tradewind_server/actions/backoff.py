"""How long to wait before something is sent once more."""

from __future__ import annotations

import hashlib


def pause(attempts: int, first: float, longest: float, what: str) -> float:
    """Return the seconds to wait after so many attempts: doubling, and spread by a fixed share of up to a half.

    The share is derived from what is sent and the attempt, so that it needs no chance, and differs between them.

    Args:
        attempts: how many there were; 0 counts as 1.
        first: seconds after the first one, unless spread.
        longest: most seconds between two.
        what: stands for what is sent, and for the attempt.
    """
    seconds = min(first * 2.0 ** min(max(0, attempts - 1), 30), longest)
    share = int.from_bytes(hashlib.blake2b(what.encode(), digest_size=4).digest()) / 2**32
    return seconds * (0.5 + 0.5 * share)
