"""The gRPC edge: servicers that convert, call the runtime, and convert back. No rules live here.

No servicer has a `try`: `methods.py` turns refusals into `google.rpc.Status` for all of them.
"""
