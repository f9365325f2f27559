"""What all tests share."""

from __future__ import annotations

import os
import signal

# Python 3.9 starts processes by fork (newer ones by vfork). gRPC's own handlers for that, while a server of the tests
# is busy, now and then leave a child that never gets to its exec.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

# Whoever is started in the background by a shell without job control has SIGINT ignored, and so have its children:
# none of the processes that the tests start would hear of Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
