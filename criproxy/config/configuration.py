"""All options, validated into one frozen object."""

from __future__ import annotations

import os
from types import MappingProxyType
from typing import Any, Dict, Iterator, Mapping, NamedTuple, Sequence, Tuple

from criproxy.config.errors import ConfigError
from criproxy.config.names import PARTS
from criproxy.config.options import GO, OPTIONS, REQUIRED, default_of
from criproxy.config.runtimes import RuntimeAddress, handlers_by_id, refuse_unknown_runtimes
from criproxy.config.sources import Sources, find, unknown_variables
from criproxy.cri.identity import RETIRING, RuntimeHandler
from criproxy.cri.selector import RouteRule


class Config(NamedTuple):
    """Everything the operator tells the daemon, checked."""

    runtimes: Tuple[RuntimeAddress, ...]
    """The primary first, then the others in the order in which they were given."""
    listen: str
    """The unix socket kubelet connects to."""
    socket_group: str
    """The group, by its name or number, that it belongs to; empty: this process's own."""
    control: str
    """The unix socket of the commands that ask the daemon; empty if there is none."""
    image_service: str
    """The unix socket of the primary's ImageService; empty if that is at the primary's own."""
    retiring: str
    """The unix socket of the runtime that was the primary one before; empty if there is none."""
    handlers: Tuple[RuntimeHandler, ...]
    """All runtime handlers by which pods ask for an alternative runtime, those of `handler` first."""
    drained: Tuple[str, ...]
    """The ids of alternative runtimes that get no new pods."""
    route: Tuple[RouteRule, ...]
    """The rules by which new pods go to alternative runtimes; the first that fits counts."""
    image_prefix: str
    """``required`` if an image is an alternative runtime's by its name alone, ``optional`` if by other marks, too."""
    digests: str
    """Whose image a bare digest may name: ``all`` runtimes' or ``primary``, as in the Go program."""
    status: str
    """Whose status kubelet gets: that of ``all`` runtimes or ``primary``, as in the Go program."""
    stream_url: str
    """Where the primary's streaming server is, ``scheme://host[:port]``; empty if not given."""
    stream_port: int
    """Its port on this node, if there is no `stream_url`."""
    connection_timeout: float
    """Seconds a call waits for a runtime that is not connected."""
    fan_out_timeout: float
    """Seconds a call to all runtimes waits for the slowest."""
    absence_grace: float
    """Seconds for which lists keep what an alternative runtime had before it went away; 0: not at all."""
    max_message_size: int
    """Bytes."""
    memory_limit: int
    """Bytes that may be held of messages in all; 0: a share of what there is."""
    verbosity: int
    log_to_stderr: bool
    """Whether the log goes to standard error even where that is the journal."""
    metrics_listen: str
    """Where metrics are served: ``unix:PATH``, or HOST:PORT with a literal address; empty: nowhere."""
    otlp_endpoint: str
    """The collector that traces go to: http://HOST:PORT with a literal address; empty: none."""
    warnings: Tuple[str, ...]
    """Warnings about options that are accepted but do not work as they seem to; one line each, logged at start."""
    environment_file: str = ""
    """The absolute path of the file of variables that it was read from, too; empty if there is none."""
    fixed: Mapping[str, str] = MappingProxyType({})
    """Of the variables that commands set there (`EDITED`), those that would change nothing: why that is."""


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> Config:
    """Reads the words after the program's name. Raises ConfigError; --help and --version print and raise SystemExit."""
    return checked(find(argv, environ), environ)[0]


def checked(given: Sources, environ: Mapping[str, str]) -> Tuple[Config, Dict[str, str]]:
    """The configuration that these sources give, and the texts of the options that they set. Raises as `parse`."""
    given.check_parts()
    texts = given.texts()
    values = _values(given, texts)
    runtimes: Tuple[RuntimeAddress, ...] = values.pop("connect")
    handlers: Tuple[RuntimeHandler, ...] = values.pop("handler")
    image_service = values["image_service"]
    if image_service and os.path.realpath(image_service) == os.path.realpath(runtimes[0].path):
        image_service = values["image_service"] = ""
    refuse_a_loop(values["listen"], runtimes, image_service, values["retiring"])
    _refuse_retiring(given, runtimes, values["retiring"])
    _refuse_rules(given, runtimes, values)
    try:
        refuse_unknown_runtimes(handlers, runtimes)
    except ValueError as error:
        raise ConfigError(f"{given.place('handler')}: {error}") from error
    if values.pop("compatibility") != GO:
        handlers += handlers_by_id(runtimes, handlers)
    warnings = (
        *given.warnings,
        *_default_primary(given, "connect" in texts, runtimes[0].path),
        *unknown_variables(environ),
        *_doubts(runtimes, image_service),
        *_nobody_drained(runtimes, values["drained"]),
        *_rules_of_drained(values["route"], values["drained"]),
    )
    configured = Config(
        runtimes=runtimes,
        handlers=handlers,
        warnings=warnings,
        environment_file=given.environment_file and os.path.abspath(given.environment_file),
        fixed=given.fixed(),
        **values,
    )
    return configured, texts


def refuse_a_loop(listen: str, runtimes: Sequence[RuntimeAddress], image_service: str, retiring: str) -> None:
    """Raises ConfigError if the socket of a runtime or of the image service is the one that kubelet connects to."""
    for option, path in (("image-service", image_service), ("retiring", retiring)):
        if path and os.path.realpath(path) == os.path.realpath(listen):
            raise ConfigError(f"{option}: {path!r} is the socket to listen on")
    for runtime in runtimes:
        if os.path.realpath(runtime.path) == os.path.realpath(listen):
            whose = f"runtime {runtime.id!r}" if runtime.id else "the primary runtime"
            raise ConfigError(f"listen: {listen!r} is the socket of {whose}; criproxy needs one of its own")


def _refuse_retiring(given: Sources, runtimes: Sequence[RuntimeAddress], retiring: str) -> None:
    """Raises ConfigError if the retiring runtime is one of the others, or one of them has its name.

    Kubelet would see its pods twice, and whose an id is could not be told.
    """
    if not retiring:
        return
    for runtime in runtimes:
        if os.path.realpath(runtime.path) == os.path.realpath(retiring):
            whose = f"runtime {runtime.id!r}" if runtime.id else "the primary runtime"
            raise ConfigError(f"{given.place('retiring')}: {retiring!r} is the socket of {whose}")
        if runtime.id == RETIRING:
            place = given.place("connect")
            raise ConfigError(f"{place}: beside a retiring runtime no other can have the id {RETIRING!r}")


def _refuse_rules(given: Sources, runtimes: Sequence[RuntimeAddress], values: Mapping[str, Any]) -> None:
    """Raises ConfigError if a rule names no alternative runtime, or pods of a rule could not have their images."""
    rules: Sequence[RouteRule] = values["route"]
    ids = [runtime.id for runtime in runtimes[1:]]
    for rule in rules:
        if rule.runtime not in ids:
            raise ConfigError(
                f"{given.place('route')}: {rule.entry!r} names runtime {rule.runtime!r}, which is not configured"
                f" (configured: {', '.join(ids) or 'none'})"
            )
    if rules and values["image_prefix"] == REQUIRED:
        raise ConfigError(
            f"{given.place('route')}: images of pods that a rule sends to a runtime have no prefix, and image-prefix is"
            f" {REQUIRED}: set that to optional"
        )


def _values(given: Sources, texts: Mapping[str, str]) -> Dict[str, Any]:
    """The options' values, by the names of `Config`'s fields."""
    compatibility = texts.get("compatibility", "")
    values: Dict[str, Any] = {}
    for option in OPTIONS:
        text = texts.get(option.name, default_of(option, compatibility))
        try:
            values[option.name.replace("-", "_")] = option.read(text)
        except ValueError as error:
            raise ConfigError(f"{given.place(option.name)}: {error}") from error
    return values


def _default_primary(given: Sources, connected: bool, path: str) -> Iterator[str]:
    """A warning if the environment file does not say which runtime is the primary one.

    ``connected``: whether something else says it. A file that does not exist is worth a warning anyway.
    """
    if not given.environment_file or (given.has_environment_file and connected):
        return
    what = f"does not set {PARTS[0]}" if given.has_environment_file else "does not exist"
    yield f"{given.environment_file} {what}: the primary runtime is {path}"


def _nobody_drained(runtimes: Sequence[RuntimeAddress], drained: Sequence[str]) -> Iterator[str]:
    ids = [runtime.id for runtime in runtimes[1:]]
    for id in drained:
        if id not in ids:
            yield f"drained: there is no runtime {id!r} (configured: {', '.join(ids) or 'none'})"


def _rules_of_drained(rules: Sequence[RouteRule], drained: Sequence[str]) -> Iterator[str]:
    for rule in rules:
        if rule.runtime in drained and rule.share:
            yield f"route: runtime {rule.runtime!r} is drained: pods of the rule {rule.text!r} are refused"


def _doubts(runtimes: Sequence[RuntimeAddress], image_service: str) -> Iterator[str]:
    seen: Dict[str, RuntimeAddress] = {}
    for runtime in runtimes:
        other = seen.setdefault(os.path.realpath(runtime.path), runtime)
        if other is not runtime:
            yield f"two runtimes have the socket {runtime.path!r}: kubelet will see its pods and images twice"
    for runtime in runtimes[1:]:
        if image_service and os.path.realpath(image_service) == os.path.realpath(runtime.path):
            yield f"the image service has the socket of runtime {runtime.id!r}: kubelet will see its images twice"
        yield from doubts_of_id(runtime.id)


def doubts_of_id(id: str) -> Iterator[str]:
    """Warnings about the id of an alternative runtime."""
    if "." not in id:
        yield (
            f"runtime id {id!r} has no dot: kubelet will put docker.io/ before the names of its images,"
            " so they will go to the primary runtime; choose an id with a dot"
        )
    if "-" in id:
        yield (
            f"runtime id {id!r} has a '-': kubelet will not remove the log links of its containers;"
            " choose an id without '-'"
        )
