"""What callers may call: the words by which a token, or a proxy, narrows what somebody may do, and their methods.

Rights add what few may do; these take away. Without them a token of a person could be used as a worker's, which is
given secrets and sensitive values, or to deploy what sends them away.
"""

from __future__ import annotations

import functools
import re

READ, START, WORK, DECIDE = "read", "start", "work", "decide"
CONSUME, DEPLOY, MANAGE = "consume", "deploy", "manage"
CALLS = frozenset({READ, START, WORK, DECIDE, CONSUME, DEPLOY, MANAGE})

_PACKAGE = "/tradewind.v1."
#: What tells of the server alone; nothing of reflection and health is ours.
_FOR_ALL = "ServerService"
#: What the methods of a service are for that change something; of those that are not here, to manage.
_SERVICES = {
    "ActionCallback": WORK,
    "DefinitionService": DEPLOY,
    "EnvironmentService": DEPLOY,
    "ExecutionService": START,
    "HumanTaskService": DECIDE,
}
_READING = re.compile(r"(Count|Explain|Export|Get|List|Validate|Watch)[A-Z]\w*")


@functools.cache  # of methods that are served, and asked at each call
def words_for(path: str) -> frozenset[str]:
    """Return the words of which one lets somebody call the method *path*, as in /package.Service/Method."""
    if not path.startswith(_PACKAGE):
        return CALLS
    service, _, method = path.removeprefix(_PACKAGE).partition("/")
    if service == _FOR_ALL:
        return CALLS
    if method == "Consume":
        return frozenset({CONSUME})
    word = _SERVICES.get(service, MANAGE)
    if not _READING.fullmatch(method):
        return frozenset({word})
    # who decides has to see what; his inbox is not all that there is
    return frozenset({READ, DECIDE} if word == DECIDE else {READ})
