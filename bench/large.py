"""One execution with very many items, on the real server: time, memory, size of the database."""

from __future__ import annotations

from dataclasses import dataclass

from bench.places import Place
from bench.processes import Client, Server, Worker, peak_bytes

_DEFINITION = """
version: '2.0'
large:
  input: [numbers]
  output: {count: <% $.count %>}
  tasks:
    t:
      with-items: i in <% $.numbers %>
      action: bench.step n=<% $.i %> pad=x
      publish: {count: <% len(task().result) %>}
"""


@dataclass(frozen=True)
class Large:
    """What it took on one database."""

    place: str
    items: int
    #: From the call that starts it to the answer.
    seconds: float
    #: Most memory of the server's process: before, and in all.
    memory_before_bytes: int
    memory_bytes: int
    database_bytes: int


def measure(place: Place, items: int) -> Large:
    """Run it once."""
    url = place.fresh()
    order = {"workflow": "large", "executions": 1, "in_flight": 1, "output": {"count": items}}
    with Server(url, place.folder) as server, Worker(server.address, False), Client(server.address) as client:
        client.ask(deploy=_DEFINITION)
        client.ask(**{**order, "input": {"numbers": [1]}, "output": {"count": 1}})
        before, size = peak_bytes(server.pid), place.size(url)
        answer = client.ask(**order, input={"numbers": list(range(items))})
        return Large(place.name, items, answer["seconds"], before, peak_bytes(server.pid), place.size(url) - size)
