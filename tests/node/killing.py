"""A command on a node that is killed, as by a power failure, at a point of its work."""

from __future__ import annotations

from typing import List

from .node import Node

# Stands before systemctl on the path. A call that finds a state of the node which the call before it has not found is a
# point; at the N-th point the command and all that it has started are killed. A state is what is on the disk, and which
# calls have been made that change something.
_KILLER = """\
#!/bin/sh
files="find / -xdev -path /var/log -prune -o -cnewer /run/begin -printf"
state=$({{ cat /run/changes; $files '%p %i %C@\\n'; }} | cksum)
if [ "$state" != "$(cat /run/state)" ]; then
  echo "$state" > /run/state
  echo "$*" >> /run/points
  [ "$(wc -l < /run/points)" != {point} ] || kill -KILL 0
fi
case $1 in show | show-environment | is-* | cat | list-* | --version) ;; *) echo "$*" >> /run/changes ;; esac
exec /usr/bin/systemctl "$@"
"""
_PLACE = "/usr/local/sbin/systemctl"


def killed(node: Node, point: int, *command: str) -> bool:
    """Runs a command and has it killed at a point. False: it has succeeded, with fewer points.

    One run may have a point more than another, since what else is on the node writes to the disk, too.
    """
    for name in ("changes", "begin", "state", "points"):
        node.write(f"/run/{name}", "")
    node.write(_PLACE, _KILLER.format(point=point), 0o755)
    done = node.attempt("setsid", "--wait", *command)
    node.path(_PLACE).unlink()
    found = points(node)
    assert (done.returncode != 0) == (0 < point <= len(found)), f"at point {point} of {found}:\n{done.stdout}"
    return done.returncode != 0


def points(node: Node) -> List[str]:
    """The calls at the points that the last such command has come to."""
    return node.path("/run/points").read_text().splitlines()
