"""What the log says of a configuration at a start and at a reload, in the words of the options."""

from __future__ import annotations

from typing import Dict, Sequence

from criproxy.config.configuration import Config
from criproxy.config.runtimes import RuntimeAddress
from criproxy.cri.identity import RuntimeHandler


def changes(before: Config, now: Config) -> str:
    """The options that are different now, with their values."""
    old, new = _shown(before), _shown(now)
    return "; ".join(f"{name} {new[name] or 'none'}" for name in new if new[name] != old[name])


def _shown(config: Config) -> Dict[str, str]:
    """The values of a configuration, as the options write them."""
    own = ("runtimes", "handlers", "drained", "route", "warnings", "environment_file", "fixed")
    return {
        "connect": _connect(config.runtimes),
        "handler": ",".join(map(_handler, filter(_is_given, config.handlers))),
        "drained": ",".join(config.drained),
        "route": ";".join(rule.entry for rule in config.route),
        **{name.replace("_", "-"): str(getattr(config, name)) for name in Config._fields if name not in own},
    }


def _is_given(handler: RuntimeHandler) -> bool:
    """Whether an option says what this handler does: a runtime's id asks for that runtime anyway."""
    return (handler.name, handler.inner) != (handler.runtime, "")


def _handler(handler: RuntimeHandler) -> str:
    return f"{handler.name}={handler.runtime}{handler.inner and ':'}{handler.inner}"


def runtimes(config: Config) -> str:
    """The runtimes of a configuration, as ``connect`` writes them, and those that have options of their own."""
    images = f"; image service: {config.image_service}" if config.image_service else ""
    retiring = f"; retiring: {config.retiring}" if config.retiring else ""
    return f"{_connect(config.runtimes)}{images}{retiring}"


def _connect(runtimes: Sequence[RuntimeAddress]) -> str:
    return ", ".join(f"{runtime.id}:{runtime.path}" if runtime.id else runtime.path for runtime in runtimes)
