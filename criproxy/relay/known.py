"""What people call the pods and containers that calls are about, for whoever shows calls.

A name is looked for only when it is asked for, so calls that nobody shows cost next to nothing. Lists are not read for
it: the last list of all pods and that of all containers are kept as kubelet has got them, which takes a reference, and
are searched for an id. What has been started since is known from its request and answer, and what has once been found
stays known, so that the name is there for what has just been removed, too.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Dict, Final, List, Optional, Sequence, Tuple

from criproxy.cri.filter import CONTAINERS, PODS, UNFILTERED, ListKind, sandbox_of
from criproxy.cri.identity import LONGEST_NAME
from criproxy.cri.methods import Method
from criproxy.cri.names import LARGEST_REQUEST, ContainerName, PodName, find_container, find_pod, named_in
from criproxy.cri.subjects import CONTAINER, POD, subjects
from criproxy.cri.verify import LONGEST_ID
from criproxy.cri.wire import DecodeError
from criproxy.http2.cache import Cache

LARGEST_LIST: Final = 4 * 2**20
"""The largest list that is kept, bytes: some 4,000 containers. To search it takes a millisecond."""
_MOST: Final = 2**20
"""What the names that have been found may take, of pods and again of containers, bytes: some 2,800."""
STARTS: Final = frozenset(("RunPodSandbox", "RestorePod", "CreateContainer"))
"""The methods whose requests have a name, and their answers the id that it belongs to."""


class Subject:
    """The pod and the container that a call is about, as far as their names are known, and its ids, as kubelet's."""

    __slots__ = ("container", "ids", "pod")

    def __init__(self, pod: Optional[PodName], container: Optional[ContainerName], ids: List[Tuple[str, str]]) -> None:
        self.pod = pod
        self.container = container
        self.ids = ids
        """`subjects.POD` or `CONTAINER`, and the id, which is cut if no runtime gives one that long."""

    def __str__(self) -> str:
        if self.container is not None:
            return str(self.container)
        if self.pod is not None:
            return str(self.pod)
        return self.ids[0][1][:LONGEST_NAME] if self.ids else ""


class Known:
    """The names of pods and containers by their ids, as kubelet has these."""

    def __init__(self) -> None:
        self._pods: Cache[bytes, PodName] = Cache(_MOST)
        self._containers: Cache[bytes, ContainerName] = Cache(_MOST)
        self._lists: Dict[ListKind, Sequence[bytes]] = {}

    @property
    def held(self) -> int:
        """The memory that is taken, bytes. Alternative runtimes' parts of the lists may be held by others, too."""
        lists = sum(len(part) for parts in self._lists.values() for part in parts)
        return lists + self._pods.size + self._containers.size

    def forget(self) -> None:
        """Knows nothing any more."""
        self._lists.clear()
        self._pods.clear()
        self._containers.clear()

    def listed(self, kind: Optional[ListKind], request: bytes, parts: Sequence[bytes]) -> None:
        """Kubelet has got a list: the concatenation of ``parts``. ``request``: what it has asked for."""
        if kind is None or request not in UNFILTERED:
            return
        if sum(map(len, parts)) <= LARGEST_LIST:
            self._lists[kind] = parts
        else:
            self._lists.pop(kind, None)

    def started(self, row: Method, request: bytes, answer: bytes) -> None:
        """A call of one of the methods in `STARTS` has been answered; both are serialized, with kubelet's names."""
        about = self.subject(row, request)
        for what, id in subjects(row.rpc.response, answer):
            if what == POD and about.pod is not None:
                self._keep_pod(id.encode(), about.pod)
            elif what == CONTAINER and about.container is not None:
                self._keep_container(id.encode(), about.container)

    def pod(self, id: bytes) -> Optional[PodName]:
        """The name of the pod with this id; None if it is not known."""
        known = self._pods.get(id)
        if known is None:
            known = find_pod(self._lists.get(PODS, ()), id)
            if known is not None:
                self._keep_pod(id, known)
        return known

    def sandbox(self, uid: bytes, attempt: int) -> Optional[bytes]:
        """The id of this sandbox of a pod in the last list that kubelet has got; None if it is not in it."""
        for part in self._lists.get(PODS, ()):
            with suppress(DecodeError):
                id = sandbox_of(part, uid, attempt)
                if id is not None:
                    return id
        return None

    def container(self, id: bytes) -> Optional[ContainerName]:
        """The name of the container with this id; None if it is not known."""
        known = self._containers.get(id)
        if known is None:
            found = find_container(self._lists.get(CONTAINERS, ()), id)
            if found is not None and found.name:
                known = ContainerName(self.pod(found.pod), found.name)
                if known.pod is not None:
                    self._keep_container(id, known)
        return known

    def subject(self, row: Optional[Method], request: bytes, answer: Optional[bytes] = None) -> Subject:
        """What a call is about: by its request and, if it is there, its answer, with kubelet's names.

        Of a request that is too large to be read at once that is not known.
        """
        if row is None or len(request) > LARGEST_REQUEST:
            return Subject(None, None, [])
        pod, container = named_in(row.rpc.request, request)
        found = list(subjects(row.rpc.request, request))
        if answer is not None:
            found += subjects(row.rpc.response, answer)
        ids = [(what, id[:LONGEST_ID]) for what, id in found]
        for what, id in ids:
            if what == CONTAINER and container is None:
                container = self.container(id.encode())
            elif what == POD and pod is None:
                pod = self.pod(id.encode())
        if container is not None:
            if container.pod is None and pod is not None:
                container = ContainerName(pod, container.name)
            pod = container.pod
        return Subject(pod, container, ids)

    def _keep_pod(self, id: bytes, name: PodName) -> None:
        if len(id) <= LONGEST_ID:
            self._pods.keep(id, name, len(id) + len(name.namespace) + len(name.name))

    def _keep_container(self, id: bytes, name: ContainerName) -> None:
        if len(id) <= LONGEST_ID:
            self._containers.keep(id, name, len(id) + len(str(name)))
