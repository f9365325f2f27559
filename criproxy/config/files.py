"""Files that options are read from. Whatever is at their paths, the daemon that reads them again is not held up."""

from __future__ import annotations

import os
import select
import stat
import time
from typing import Optional

from criproxy.config.errors import ConfigError

LARGEST = 64 * 1024
"""bytes: hundreds of runtimes, each with a comment, take less."""
_PATIENCE = 1.0
"""seconds for what comes through a pipe, which a shell makes of ``<(COMMAND)``."""


def read(path: str) -> Optional[str]:
    """A file's text; None if there is no such file.

    Raises ConfigError for what cannot be read, is too large or not UTF-8, and for a pipe through which nothing comes.
    """
    try:
        # A FIFO without a writer would hold up open(2), one with a silent writer read(2).
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        raise ConfigError(f"{path}: {_reason(error)}") from error
    try:
        content = _content(fd, path)
        return content.decode()
    except OSError as error:
        raise ConfigError(f"{path}: {_reason(error)}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: the file is not UTF-8 text (byte {content[error.start]:#04x})") from error
    finally:
        os.close(fd)


def _content(fd: int, path: str) -> bytes:
    content = bytearray()
    end = time.monotonic() + _PATIENCE
    is_pipe = stat.S_ISFIFO(os.fstat(fd).st_mode)
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while len(content) <= LARGEST:
        if is_pipe and not poll.poll(max(0.0, end - time.monotonic()) * 1000):
            raise ConfigError(f"{path}: the pipe has no end after {_PATIENCE:.0f}s; name a file")
        piece = os.read(fd, LARGEST)
        if not piece:
            return bytes(content)
        content += piece
    raise ConfigError(f"{path}: the file has more than {LARGEST} bytes; shorten it, or name another")


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
