"""All fuzz targets by name."""

from __future__ import annotations

from typing import Dict

from tests.fuzz import cri, grpc, http, http2, texts, variables
from tests.fuzz.target import Target

TARGETS: Dict[str, Target] = {
    "server": http2.SERVER,
    "client": http2.CLIENT,
    "blocks": http2.BLOCKS,
    "grpc": grpc.GRPC,
    "renaming": cri.RENAMING,
    "lists": cri.LISTS,
    "merging": cri.MERGING,
    "scrapes": http.SCRAPES,
    "configuration": texts.CONFIGURATION,
    "units": texts.UNITS,
    "environment": variables.ENVIRONMENT,
}
