"""The program that is installed here. A service that runs may be older than it."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from pathlib import Path
from typing import List

import criproxy

_FOLDER = Path(criproxy.__file__).parent


def age() -> float:
    """How long ago something of the program was put in its place, seconds.

    The change of a file's inode tells: dpkg and pip keep the times of modification that a package has.
    """
    return time.time() - max(os.stat(path).st_ctime for path in _files())


def digest() -> str:
    """What tells one program from another, its interpreter included: to put the same in its place changes nothing."""
    whole = hashlib.sha256()
    for path in _files():
        content = path.read_bytes()
        whole.update(f"{path}\0{len(content)}\0".encode("utf-8", "surrogateescape"))
        whole.update(content)
    return whole.hexdigest()


def _files() -> List[Path]:
    found = [path for path in _FOLDER.rglob("*") if path.parent.name != "__pycache__" and path.is_file()]
    compiled = _FOLDER.parent.glob(f"{_FOLDER.name}__*.so")  # by mypyc, all of it in one beside the package
    return [*sorted(found), *sorted(compiled), Path(sys.executable)]
