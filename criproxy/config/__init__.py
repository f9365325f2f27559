"""Options, from the command line, the environment and files, validated into one frozen object.

The command line is that of the Go program of the same name (`words`). It goes before the environment, that before the
configuration file (`entries`), and that before the defaults (`sources`). `options` has a row for each option.

The daemon reads all of it again at SIGHUP: the same words give what the files say by then.
"""

from __future__ import annotations

from criproxy.config.configuration import Config, parse, refuse_a_loop
from criproxy.config.errors import ConfigError
from criproxy.config.options import ALL, DEFAULT_FILE, REQUIRED
from criproxy.config.runtimes import RuntimeAddress, others_of, runtimes_of
from criproxy.config.values import duration, gid_of, group_name, level

__all__ = (
    "ALL",
    "DEFAULT_FILE",
    "REQUIRED",
    "Config",
    "ConfigError",
    "RuntimeAddress",
    "duration",
    "gid_of",
    "group_name",
    "level",
    "others_of",
    "parse",
    "refuse_a_loop",
    "runtimes_of",
)
