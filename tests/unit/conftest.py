"""What the unit tests share: hypothesis' profile."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# The same examples in each run, so that a failure is the change's that brought it. No deadline: the machine that
# runs the tests may be busy with something else.
settings.register_profile(
    "criproxy",
    max_examples=60,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("criproxy")
