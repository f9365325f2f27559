"""What the parts of the demo runtime have in common: the messages they are made of, and how a call fails.

The messages are those of v1, which are those of v1alpha2, too (``criproxy/cri/api.proto``).
"""

from __future__ import annotations

from typing import Any, Dict

from criproxy.cri.messages import api

Msg = Any
"""A message of the CRI. The classes are made at run time, so there is nothing closer to say."""
MESSAGES = api()


class CriError(Exception):
    """A call fails. ``code`` is the name of a gRPC status code."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


def alike(name: str, source: Msg, **others: Any) -> Msg:
    """A message of another type, with the fields that both have under one name, and with ``others``."""
    cls = MESSAGES[name]
    same = {field.name: value for field, value in source.ListFields() if field.name in cls.DESCRIPTOR.fields_by_name}
    return cls(**{**same, **others})


def number(value: int) -> Dict[str, int]:
    """What becomes an Int64Value or a UInt64Value."""
    return {"value": value}


def filesystem(now: int, mountpoint: str, used_bytes: int) -> Msg:
    """A FilesystemUsage; ``now`` in nanoseconds since 1970. A file for every 16 KiB is assumed."""
    return MESSAGES["FilesystemUsage"](
        timestamp=now,
        fs_id={"mountpoint": mountpoint},
        used_bytes=number(used_bytes),
        inodes_used=number(1 + used_bytes // 16384),
    )
