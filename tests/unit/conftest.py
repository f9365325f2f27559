"""What the unit tests share: hypothesis' profiles."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# No deadline: the machine that runs the tests may be busy with something else.
_HEALTH = (HealthCheck.too_slow, HealthCheck.data_too_large)
# The same examples in each run, so that a failure is the change's that brought it.
settings.register_profile(
    "test", max_examples=60, derandomize=True, database=None, deadline=None, suppress_health_check=_HEALTH
)
# Others in each run: `make fuzz`.
settings.register_profile(
    "fuzz", max_examples=1000, database=None, deadline=None, print_blob=True, suppress_health_check=_HEALTH
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "test"))
