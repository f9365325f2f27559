"""Brings an object into every state that events can bring it to, and tries every event there.

A state is what a test says of an object in a few words, so that there are not many of them: histories that come to the
same state are taken for the same. Objects are not copied: each is made anew, and its history repeated.
"""

from __future__ import annotations

from collections import deque
from typing import Callable, Deque, Dict, Hashable, List, Mapping, Protocol, Tuple

Path = Tuple[str, ...]


class World(Protocol):
    """An object, and all that can happen to it."""

    def state(self) -> Hashable:
        """What distinguishes it from others."""

    def events(self) -> Mapping[str, Callable[[], None]]:
        """What may happen to it next, by name. It is to be the same in the same state."""

    def check(self) -> None:
        """Raises AssertionError if something is not as it must always be."""


class Graph:
    """All states: ``ways`` has the events of each, with the state that each leads to; ``paths`` how each is reached."""

    def __init__(self) -> None:
        self.ways: Dict[Hashable, Dict[str, Hashable]] = {}
        self.paths: Dict[Hashable, Path] = {}

    def stuck(self, goal: Callable[[Hashable], bool]) -> List[Path]:
        """The shortest histories after which no event leads to a state like this any more, however many follow."""
        before: Dict[Hashable, List[Hashable]] = {state: [] for state in self.ways}
        for state, ways in self.ways.items():
            for after in ways.values():
                before[after].append(state)
        todo = [state for state in self.ways if goal(state)]
        reached = set(todo)
        while todo:
            fresh = [state for state in before[todo.pop()] if state not in reached]
            reached.update(fresh)
            todo += fresh
        return sorted((path for state, path in self.paths.items() if state not in reached), key=len)


def explore(make: Callable[[], World], most: int) -> Graph:
    """Every state, and every event in each. Raises AssertionError, with the history, for whatever is raised.

    ``most``: how many states there may be; more are a sign that a state says too much.
    """
    graph = Graph()
    first = _after(make, ())
    graph.paths[first.state()] = ()
    todo: Deque[Hashable] = deque(graph.paths)
    while todo:
        state = todo.popleft()
        path = graph.paths[state]
        ways = graph.ways[state] = {}
        for event in _after(make, path).events():
            after = _after(make, (*path, event)).state()
            ways[event] = after
            if after not in graph.paths:
                graph.paths[after] = (*path, event)
                todo.append(after)
        assert len(graph.paths) <= most, f"more than {most} states; the last one: {after}"
    return graph


def _after(make: Callable[[], World], path: Path) -> World:
    """The object after these events."""
    world = make()
    try:
        for event in path:
            world.events()[event]()
        world.check()
    except Exception as error:
        raise AssertionError(f"after {', '.join(path)}: {error!r}") from error
    return world
