"""What a storage folder looks like: its identity, its format version, and the names in it.

The rule: a folder that is not ours, or is newer than this version, is refused before anything in it is
touched. What does not belong here: opening logs and journals.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from mqbridge import errors
from mqbridge.native.storage import disk

FORMAT = 1
IDENTITY = "mqbridge.json"
# Names that may be there before the identity is: the lock, the host's socket, a temporary file, the root of a
# disk.
_OWN_PREFIX = "mqbridge."
_HARMLESS = "lost+found"

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_-.")
# The shortest limit in use is 255 bytes; suffixes and prefixes of ours need some of them.
_MOST_QUOTED = 200


def inspect_folder(path: Path) -> bool:
    """Whether the folder is ours already (else it is missing or empty). Reads only.

    ConfigurationError: something else lives there, or a newer version wrote it. Unreachable, Denied: it
    cannot be read.
    """
    try:
        entries = os.listdir(path)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise disk.disk_error(error, path, "opening") from error
    if IDENTITY in entries:
        _check_identity(path / IDENTITY)
        return True
    foreign = sorted(name for name in entries if not name.startswith(_OWN_PREFIX) and name != _HARMLESS)
    if foreign:
        raise errors.ConfigurationError(
            f"{path} is not empty and was not made by mqbridge (it holds {foreign[0]!r}, and no {IDENTITY}); "
            "nothing was touched: name a folder that is new, empty or ours"
        )
    return False


def prepare_folder(path: Path) -> None:
    """Make the folder, if need be, and mark it as ours, durably. The same errors as `inspect_folder`."""
    if inspect_folder(path):
        return
    disk.make_folder(path)
    disk.replace_file(path / IDENTITY, json.dumps({"format": FORMAT}).encode() + b"\n")


def quote(name: str) -> str:
    """A file name for `name`, of which no two are equal, on a case-insensitive file system either.

    An upper-case letter is `=` and the small one, any other byte outside [a-z0-9_.-] is `%` and two hex
    digits, as is a leading dot. A name that would grow beyond the limit of file systems keeps its beginning
    and gets `~` and a hash.
    """
    quoted = "".join(_quote(character) for character in name)
    if quoted.startswith("."):
        quoted = "%2e" + quoted[1:]
    if len(quoted) > _MOST_QUOTED:
        digest = hashlib.sha256(name.encode()).hexdigest()[:40]
        quoted = f"{quoted[: _MOST_QUOTED - 41]}~{digest}"
    return quoted


def _quote(character: str) -> str:
    if character in _PLAIN:
        return character
    if "A" <= character <= "Z":
        return "=" + character.lower()
    return "".join(f"%{byte:02x}" for byte in character.encode())


def _check_identity(path: Path) -> None:
    try:
        found = json.loads(path.read_bytes())["format"]
    except OSError as error:
        raise disk.disk_error(error, path, "reading") from error
    except (ValueError, LookupError, TypeError) as error:
        raise disk.corrupt(path, 0, "it does not name a format") from error
    if not isinstance(found, int) or found < 1:
        raise disk.corrupt(path, 0, f"it names the format {found!r}")
    if found > FORMAT:
        raise errors.ConfigurationError(
            f"{path.parent} has storage format {found}, this version of mqbridge reads up to {FORMAT}; "
            "nothing was touched: use the version that wrote it, or a later one"
        )
