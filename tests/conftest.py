"""What all tests share."""

from __future__ import annotations

import os

# Python 3.9 starts processes by fork (newer ones by vfork). gRPC's own handlers for that, while a server of the tests
# is busy, now and then leave a child that never gets to its exec.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
