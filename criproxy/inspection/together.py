"""Several questions at once, none of which is waited for longer than is said."""

from __future__ import annotations

import threading
import time
from typing import Callable, Generic, List, Optional, Sequence, TypeVar

_T = TypeVar("_T")


class _Task(Generic[_T]):
    def __init__(self, work: Callable[[], _T]) -> None:
        self._work = work
        self.result: Optional[_T] = None
        self.error: Optional[BaseException] = None
        # Whoever gets no answer does not keep the program from its end.
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            self.result = self._work()
        except BaseException as error:  # which belongs to whoever has asked
            self.error = error


def together(works: Sequence[Callable[[], _T]], seconds: float) -> List[Optional[_T]]:
    """What each of them gives, in their order; None for what has not come after so many seconds.

    Raises what one of them has raised.
    """
    tasks = [_Task(work) for work in works]
    end = time.monotonic() + seconds
    for task in tasks:
        task.thread.start()
    for task in tasks:
        task.thread.join(max(0.0, end - time.monotonic()))
    for task in tasks:
        if task.error is not None:
            raise task.error
    return [task.result for task in tasks]
