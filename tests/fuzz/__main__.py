"""``python -m tests.fuzz``: the names of the targets; ``… TARGET SECONDS FOLDER``: looks for an input that shows a
fault, and leaves it in the folder; ``… TARGET INPUT``: that one again.

atheris guides the search by coverage. Where it is not installed (it has releases for CPython 3.11 to 3.13), the inputs
are mutations of those that are kept.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from hashlib import sha256
from pathlib import Path
from typing import Callable, List

_LONGEST = 4_096
"""bytes of an input that is looked at."""
_SLOWEST = 20
"""seconds that an input may take: one that is grown to `growth.LARGE`, too."""
_GROWN = 200
"""One input of so many is looked at for how its cost grows."""


def _checked(name: str, folder: Path) -> Callable[[bytes], None]:
    """A target that looks now and then at how the work grows. An input that shows a fault is left in the folder."""
    from tests.fuzz import growth
    from tests.fuzz.targets import TARGETS

    target = TARGETS[name]
    count = 0

    def check(data: bytes) -> None:
        nonlocal count
        count += 1
        try:
            target.one(data)
            if count % _GROWN == 0:
                growth.check(target, data)
        except BaseException:
            path = folder / f"{name}-{sha256(data).hexdigest()[:16]}"
            path.write_bytes(data)
            print(f"wrote {path}", flush=True)
            raise

    return check


def _search_guided(name: str, seconds: int, folder: Path) -> None:
    import atheris

    from tests.fuzz.kept import CORPUS

    with atheris.instrument_imports(include=["criproxy"]):
        check = _checked(name, folder)
    found = folder / name
    found.mkdir(exist_ok=True)
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={_LONGEST}",
        f"-timeout={_SLOWEST}",
        f"-artifact_prefix={folder}/{name}-",
        "-rss_limit_mb=2048",
        "-verbosity=0",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *options, str(found), str(CORPUS / name)], check)
    atheris.Fuzz()


def _search(name: str, seconds: int, folder: Path) -> int:
    from tests.fuzz.kept import kept, mutations

    check = _checked(name, folder)
    end = time.monotonic() + seconds
    for count, data in enumerate(mutations(kept(name), time.time_ns())):
        if time.monotonic() > end:
            print(f"{name}: {count} inputs, without guidance by coverage (there is no atheris)")
            break
        check(data[:_LONGEST])
    return 0


def _again(name: str, path: Path) -> int:
    from tests.fuzz import growth
    from tests.fuzz.targets import TARGETS

    data = path.read_bytes()
    TARGETS[name].one(data)
    growth.check(TARGETS[name], data)
    print(f"{path}: nothing wrong with it")
    return 0


def main(words: List[str]) -> int:
    """Does what the words say."""
    if not words:
        from tests.fuzz.kept import CORPUS

        print("\n".join(sorted(path.name for path in CORPUS.iterdir())))
        return 0
    if len(words) == 2:
        return _again(words[0], Path(words[1]))
    name, seconds, folder = words
    Path(folder).mkdir(parents=True, exist_ok=True)
    if importlib.util.find_spec("atheris") is None:
        return _search(name, int(seconds), Path(folder))
    _search_guided(name, int(seconds), Path(folder))
    return 0


sys.exit(main(sys.argv[1:]))
