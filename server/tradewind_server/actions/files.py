"""Files that actions may name: those below one directory, and TLS made of them."""

from __future__ import annotations

import ssl
from pathlib import Path

from tradewind_server.actions.parameters import Input, bad, text


class Files:
    """The directory that the setting `files_dir` names; "" for none."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder).resolve() if folder else None

    def path(self, parameter: str, name: str) -> Path:
        """Return the path of the file *name*, which *parameter* asks for.

        Raises:
            ActionError: there is no such file below the directory, links included.
        """
        if self._folder is None:
            raise bad(f"{parameter} names a file, but the server has no directory for them (setting files_dir)")
        try:
            path = (self._folder / name).resolve()
            if path.is_relative_to(self._folder) and path.is_file():
                return path
        except (OSError, ValueError):  # a loop of links, a null character
            pass
        raise bad(f"{parameter} names no file below the server's files_dir")


def tls_of(given: Input, files: Files) -> ssl.SSLContext | bool:
    """Return how the peer's certificate is checked: True for the usual way, False for not at all.

    `verify` is true, false or a file of certificates to trust; `cert` a file with one's own certificate and its key.

    Raises:
        ActionError: they are something else.
    """
    verify, own = given.get("verify"), text(given, "cert")
    if verify is not None and not isinstance(verify, bool | str):
        raise bad("verify must be true, false or the name of a file")
    if not isinstance(verify, str) and not own:
        return verify is not False
    trusted = files.path("verify", verify) if isinstance(verify, str) else None
    chain = files.path("cert", own) if own else None
    try:
        context = ssl.create_default_context(cafile=trusted)
        if verify is False:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if chain is not None:
            context.load_cert_chain(chain, password="")
    except (OSError, ValueError):
        raise bad("verify and cert must name PEM files: certificates, and a certificate with its key") from None
    return context
