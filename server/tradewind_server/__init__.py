"""The Tradewind server: a durable coordinator for business processes.

Rooms, from the inside out: `lang` and `engine` are pure; `store` speaks SQL; `runtime` is the one
loop that commits; `actions` and `api` are its edges; `bootstrap` wires them. Imports point inwards only.
"""

__version__ = "0.1.0"
