"""The router of a configuration: the daemon's, and that of whoever asks where a call would go."""

from __future__ import annotations

from typing import Callable

from criproxy.config import ALL, REQUIRED, Config
from criproxy.cri.identity import Runtimes
from criproxy.relay.placement import Placement
from criproxy.relay.pods import Pods
from criproxy.relay.routing import Router, Rules


def router_of(config: Config, stream_url: Callable[[], str], pods: Pods) -> Router:
    """Routes calls as the configuration says."""
    ids = (runtime.id for runtime in config.runtimes[1:])
    names = Runtimes(ids, config.handlers, bool(config.retiring))
    rules = Rules(config.image_prefix != REQUIRED, config.digests == ALL, config.status == ALL)
    router = Router(names, stream_url, pods, rules)
    settle(router, config)
    return router


def settle(router: Router, config: Config) -> None:
    """Has a router do what a configuration says of new pods, which may change while the names stay."""
    router.drained = frozenset(config.drained)
    if router.placement.rules != config.route:
        router.placement = Placement(router.runtimes, config.route)
