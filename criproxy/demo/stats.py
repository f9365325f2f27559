"""The statistics of the demo runtime: what a pod's containers would use if they ran.

How busy a container is depends on its id, and what it has used on for how long it has been running, so that two
answers never are the same. Times are nanoseconds since 1970.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, List, Sequence, Tuple

from criproxy.cri.schema import load
from criproxy.demo.messages import MESSAGES, Msg, alike, filesystem, number

_SECOND = 10**9
_KIB = 1 << 10
_MIB = 1 << 20


def container_stats(status: Msg, now: int, mountpoint: str) -> Msg:
    """ContainerStats for a ContainerStatus. An exited container keeps its time of the CPU and uses no memory."""
    ran = (status.finished_at or now) - status.started_at if status.started_at else 0
    running = bool(status.started_at and not status.finished_at)
    nano_cores = _trait(status.id, 0) * 10**6
    memory = _trait(status.id, 1) * _MIB + ran // _SECOND % 60 * 64 * _KIB
    return MESSAGES["ContainerStats"](
        attributes=alike("ContainerAttributes", status),
        cpu=_cpu(now, nano_cores * ran // _SECOND, nano_cores if running else 0),
        memory=_memory(now, memory if running else 0),
        writable_layer=filesystem(now, mountpoint, 4 * _KIB * (1 + ran // _SECOND)),
    )


def _trait(thing_id: str, at: int) -> int:
    """A number from 1 to 256 that stays with the id."""
    return 1 + int(thing_id[2 * at : 2 * at + 2], 16)


def _cpu(now: int, used: int, nano_cores: int) -> Msg:
    return MESSAGES["CpuUsage"](
        timestamp=now, usage_core_nano_seconds=number(used), usage_nano_cores=number(nano_cores)
    )


def _memory(now: int, used: int) -> Msg:
    return MESSAGES["MemoryUsage"](
        timestamp=now, working_set_bytes=number(used), usage_bytes=number(used), rss_bytes=number(used)
    )


def pod_stats(status: Msg, containers: List[Msg], now: int) -> Msg:
    """PodSandboxStats for a PodSandboxStatus and the ContainerStats of what is in the pod."""
    received = (now - status.created_at) // _SECOND * _trait(status.id, 0) * _KIB
    interface = {"name": "eth0", "rx_bytes": number(received), "tx_bytes": number(received // 4)}
    return MESSAGES["PodSandboxStats"](
        attributes=alike("PodSandboxAttributes", status),
        linux={
            "cpu": _cpu(
                now,
                sum(stats.cpu.usage_core_nano_seconds.value for stats in containers),
                sum(stats.cpu.usage_nano_cores.value for stats in containers),
            ),
            "memory": _memory(now, sum(stats.memory.working_set_bytes.value for stats in containers)),
            "network": {"timestamp": now, "default_interface": interface, "interfaces": [interface]},
            "process": {"timestamp": now, "process_count": number(1 + len(containers))},
            "containers": containers,
        },
    )


@dataclass(frozen=True)
class Metric:
    """A metric of pods or of containers, and how to read its value out of PodSandboxStats or ContainerStats."""

    name: str
    help: str
    type: str
    labels: Tuple[str, ...]
    value: Callable[[Msg], int]

    def of(self, stats: Msg, now: int, labels: Sequence[str]) -> Msg:
        """The metric's value (Metric) with the values of its labels."""
        return MESSAGES["Metric"](
            name=self.name,
            timestamp=now,
            metric_type=load().enums["MetricType"][self.type],
            label_values=labels,
            value=number(self.value(stats)),
        )


POD_METRICS = (
    Metric(
        "container_network_receive_bytes_total",
        "Bytes received by the pod.",
        "COUNTER",
        ("pod", "namespace"),
        lambda stats: int(stats.linux.network.default_interface.rx_bytes.value),
    ),
)
CONTAINER_METRICS = (
    Metric(
        "container_cpu_usage_seconds_total",
        "Time of the CPU used by the container, seconds.",
        "COUNTER",
        ("pod", "namespace", "container"),
        lambda stats: int(stats.cpu.usage_core_nano_seconds.value) // _SECOND,
    ),
    Metric(
        "container_memory_working_set_bytes",
        "Memory in use by the container, bytes.",
        "GAUGE",
        ("pod", "namespace", "container"),
        lambda stats: int(stats.memory.working_set_bytes.value),
    ),
)


def pod_metrics(stats: Msg, now: int) -> Msg:
    """PodSandboxMetrics out of PodSandboxStats."""
    pod = (stats.attributes.metadata.name, stats.attributes.metadata.namespace)

    def of_container(container: Msg) -> Msg:
        labels = (*pod, container.attributes.metadata.name)
        metrics = [metric.of(container, now, labels) for metric in CONTAINER_METRICS]
        return MESSAGES["ContainerMetrics"](container_id=container.attributes.id, metrics=metrics)

    return MESSAGES["PodSandboxMetrics"](
        pod_sandbox_id=stats.attributes.id,
        metrics=[metric.of(stats, now, pod) for metric in POD_METRICS],
        container_metrics=[of_container(container) for container in stats.linux.containers],
    )


def metric_descriptors() -> List[Msg]:
    """What the metrics are (MetricDescriptor)."""
    return [
        MESSAGES["MetricDescriptor"](name=metric.name, help=metric.help, label_keys=metric.labels)
        for metric in POD_METRICS + CONTAINER_METRICS
    ]
