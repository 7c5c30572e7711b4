"""Keep gRPC's own log out of the tests' output: they cut connections on purpose."""

import os

os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
