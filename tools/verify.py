"""Compare everything that is made from something else; the stubs have `generate.py --check`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_TOOLS = Path(__file__).parent
_MAKERS = ("advice.py", "api_docs.py", "diagnostics_docs.py", "settings_docs.py", "state_machine.py")


def main() -> int:
    """Run every maker with --check; the exit code is 1 when one finds a difference."""
    codes = [
        subprocess.run([sys.executable, str(_TOOLS / maker), "--check"], check=False).returncode for maker in _MAKERS
    ]
    return 1 if any(codes) else 0


if __name__ == "__main__":
    sys.exit(main())
