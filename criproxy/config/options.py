"""The options as data: a row each, for the command line, the environment, the configuration file and the help."""

from __future__ import annotations

from typing import Any, Callable, NamedTuple

from criproxy.config.runtimes import handlers_of, ids_of, runtimes_of, socket_path
from criproxy.config.values import (
    AUTO,
    boolean,
    collector,
    duration,
    group,
    level,
    metrics_address,
    one_of,
    path_if_any,
    port,
    size,
    size_or_auto,
    timeout,
    url,
)
from criproxy.cri.selector import parse_all

DEFAULT_FILE = "/etc/criproxy/criproxy.conf"
"""Read if it exists and no other file is named."""

CONTROL = "/run/criproxy/control.sock"
"""The control socket, if no other is named."""

REQUIRED = "required"
"""Of ``image_prefix``."""
ALL = "all"
"""Of ``digests`` and ``status``."""
GO = "go"
"""Of ``compatibility``."""


class Option(NamedTuple):
    """``--name``, the key ``name`` and the variable ``CRIPROXY_NAME``."""

    name: str
    read: Callable[[str], Any]
    """Makes a value of a text. Raises ValueError; its text quotes the wrong part."""
    default: str
    metavar: str
    help: str = ""
    """Empty for an option that criproxy.conf(5) alone tells of."""
    go_name: str = ""
    """Its name in the Go program, if that is another."""
    alone: str = ""
    """Its value on a command line that gives none; empty if it takes the next word."""
    as_go: str = ""
    """Its default with ``--compatibility go``, if that is another."""
    several: str = ""
    """What its values are joined with if a command line gives it several times; empty if the last one counts."""


OPTIONS = (
    Option(
        "connect",
        runtimes_of,
        "/var/run/dockershim.sock",
        "[ID:]PATH,...",
        "the runtimes' sockets: one without an id, which is the primary runtime's, and any number with an id; a path"
        " may begin with unix://. CRI_PRIMARY and CRI_OTHER in the environment are its two parts; CRIPROXY_CONNECT"
        " overrides them, and they override the file",
    ),
    Option("listen", socket_path, "/run/criproxy.sock", "PATH", "the socket for kubelet"),
    Option(
        "socket-group",
        group,
        "",
        "GROUP",
        "the group that may connect to that socket beside root; its members can do what kubelet can do",
    ),
    Option(
        "control",
        path_if_any,
        CONTROL,
        "PATH",
        "the socket for root's own commands, as criproxy status; empty: none",
    ),
    Option(
        "image-service",
        path_if_any,
        "",
        "PATH",
        "the socket of the primary runtime's ImageService, if that is not the runtime's own; it may begin with unix://."
        " CRI_IMAGE_SERVICE in the environment means the same; CRIPROXY_IMAGE_SERVICE overrides it, and it overrides"
        " the file",
    ),
    Option(
        "retiring",
        path_if_any,
        "",
        "PATH",
        "the socket of the runtime that was the primary one before: its pods stay on it until they end, under the ids"
        " that kubelet knows, and it gets no new ones. CRI_RETIRING in the environment means the same;"
        " CRIPROXY_RETIRING overrides it, and it overrides the file",
    ),
    Option(
        "handler",
        handlers_of,
        "",
        "NAME=ID[:HANDLER],...",
        "runtime handlers (of a RuntimeClass) that ask for the alternative runtime ID, which gets HANDLER, or none; the"
        " id of a runtime is a handler, too. May be given several times",
        several=",",
    ),
    Option(
        "drained",
        ids_of,
        "",
        "ID,...",
        "alternative runtimes that get no new pods, as criproxy drain has it; all else goes on",
    ),
    Option(
        "route",
        parse_all,
        "",
        "RULE=ID;...",
        "rules by which new pods that ask for no runtime go to the alternative runtime ID, the first that fits:"
        " 'namespace in (a, b)', labels as in a selector, N%% of all pods, or several of these with commas between; as"
        " criproxy route add has it. May be given several times",
        several=";",
    ),
    Option(
        "compatibility",
        one_of("none", GO),
        "none",
        "none|go",
        "go: pods, images, digests and the status are treated as the Go program of this name treated them; see"
        " criproxy.conf(5)",
    ),
    Option("image-prefix", one_of("optional", REQUIRED), "optional", "optional|required", as_go="required"),
    Option("digests", one_of(ALL, "primary"), ALL, "all|primary", as_go="primary"),
    Option("status", one_of(ALL, "primary"), ALL, "all|primary", as_go="primary"),
    Option(
        "stream-port",
        port,
        "11250",
        "PORT",
        "the port of the primary runtime's streaming server on this node, for a runtime that answers Exec with a path"
        " alone",
        go_name="streamPort",
    ),
    Option(
        "stream-url",
        url,
        "",
        "URL",
        "the whole address of that server, http://HOST:PORT; the port is then ignored",
        go_name="streamUrl",
    ),
    Option("connection-timeout", timeout, "5s", "TIME", "how long a call waits for a runtime that is not connected"),
    Option("fan-out-timeout", timeout, "5s", "TIME", "how long a call to all runtimes waits for the slowest"),
    Option("absence-grace", duration, "60s", "TIME", as_go="0"),
    Option("max-message-size", size, "64Mi", "BYTES", "the largest message passed on"),
    Option(
        "memory-limit",
        size_or_auto,
        AUTO,
        "BYTES",
        "what may be held of messages in all; auto: a fifth of what the unit or the machine has, at most 96Mi",
    ),
    Option(
        "verbosity",
        level,
        "0",
        "N",
        "what is logged of calls; 0: those that fail by the node's fault, 2: all that fail, 3: also calls that change"
        " something, 4: also calls for a status, 5: also lists, 6: also each change of a state of runtimes, calls and"
        " connections",
        go_name="v",
    ),
    Option(
        "log-to-stderr",
        boolean,
        "false",
        "BOOL",
        "log to standard error, one line a record, even where that is the journal; without =BOOL it is true",
        go_name="logtostderr",
        alone="true",
    ),
    Option(
        "metrics-listen",
        metrics_address,
        "",
        "ADDRESS",
        "where to serve metrics for Prometheus, by HTTP: unix:PATH, 127.0.0.1:PORT, [::1]:PORT or another address of"
        " this machine; needs python3-prometheus-client",
    ),
    Option(
        "otlp-endpoint",
        collector,
        "",
        "URL",
        "the collector to send a span to for each call that kubelet traces, by OTLP over HTTP: http://127.0.0.1:4318;"
        " needs opentelemetry-sdk and opentelemetry-exporter-otlp-proto-http",
    ),
)

WITHOUT_EFFECT = {
    "alsologtostderr": False,
    "stderrthreshold": True,
    "log_dir": True,
    "log_backtrace_at": True,
    "vmodule": True,
    "apiserver": True,
    "apiVersion": True,
}
"""Flags of the Go program that are accepted and do nothing (glog's, and its own of various releases); whether each
takes a value, which a flag that takes none can have after a ``=`` all the same."""


def default_of(option: Option, compatibility: str) -> str:
    """The text that counts for an option that is not given."""
    return option.as_go if compatibility == GO and option.as_go else option.default
