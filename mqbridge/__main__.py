"""``python -m mqbridge`` and the console script ``mqbridge``.

The rule of this room: the standard library alone, so that the demo runs in a tree with nothing installed. All other
commands live in mqbridge.cli, which needs click and rich.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code (see ``mqbridge --help``)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments == ["--version"]:
        from mqbridge import __version__

        print(f"mqbridge {__version__}")
        return 0
    if arguments[:1] == ["demo"]:
        from mqbridge.demo import main as demo

        return demo(arguments[1:])
    missing = [name for name in ("click", "rich") if find_spec(name) is None]
    if missing:
        print(
            f"mqbridge: the command line needs {' and '.join(missing)}, which the library itself does not: "
            "pip install '.[cli]' in its tree   (`mqbridge demo` and `mqbridge --version` run without)",
            file=sys.stderr,
        )
        return 2
    from mqbridge.cli.main import run

    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
