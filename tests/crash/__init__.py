"""The crash test: live clients and workers, servers killed at random moments, and a checker that counts what is left.

The checker knows the logs of the clients, the public API and SQL. It uses no code of the engine.
"""
