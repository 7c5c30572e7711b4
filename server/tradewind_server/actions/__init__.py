"""The built-in actions std.*: a worker like any other, in the server's process.

Each action is a function of its input. It returns its result, or `After(seconds, result)` when the result is due later,
or an awaitable when it talks to the world; it raises `ActionError` to fail. `catalogue.py` lists them with what they
take; `worker.py` serves them.

What sends events to webhooks lives here too, since it goes out under the same egress policy: `webhooks.py` and
`webhook_sender.py`.
"""
