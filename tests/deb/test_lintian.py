"""What Debian asks of packages and of their source: lintian and man have nothing to say."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import List

import pytest

DIST = Path(__file__).parents[2] / "dist"
MANUALS = sorted((Path(__file__).parents[2] / "debian").glob("criproxy*.[58]"))


def said(*words: object) -> List[str]:
    """All that a command says, which must succeed."""
    done = subprocess.run(
        [str(word) for word in words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True
    )
    return done.stdout.splitlines()


# It unpacks all of a package, and has a minute of work with the largest.
@pytest.mark.timeout(400)
@pytest.mark.parametrize("what", ["criproxy_*.deb", "criproxy-nodeps_*.deb", "criproxy_*.dsc", "criproxy_*.changes"])
def test_lintian(what: str) -> None:
    files = list(DIST.glob(what))
    assert files, f"dist has no {what}; make deb"
    assert said("lintian", "--allow-root", "--pedantic", "--tag-display-limit", "0", *files) == []


def test_the_source_holds_no_binaries() -> None:
    (archive,) = DIST.glob("criproxy_*.tar.xz")
    names = said("tar", "--list", "--file", archive)
    assert names
    assert [name for name in names if name.endswith((".deb", ".whl", ".so", ".pyc"))] == []


@pytest.mark.parametrize("manual", MANUALS, ids=lambda manual: manual.name)
def test_a_manual_page_is_well_formed(manual: Path) -> None:
    assert said("man", "--warnings", "--local-file", "--encoding=utf8", "--ditroff", manual)
    assert said("sh", "-c", 'man --warnings --local-file --encoding=utf8 --ditroff "$1" >/dev/null', "sh", manual) == []
