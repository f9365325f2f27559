"""Traces: a span for each of kubelet's calls that is part of a trace, sent to a collector by OTLP.

`endpoint` is what the daemon has; it watches calls (`criproxy.relay.tracing`), and costs nothing if there is no
collector. `spans` makes the spans, by OpenTelemetry, which is loaded only then, and in a thread of its own: the loop
waits neither for that nor for the collector.
"""
