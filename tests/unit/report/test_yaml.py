"""CRI messages as YAML: what PyYAML reads is what the message holds, less what must not be shown."""

from __future__ import annotations

import math
from typing import Any, Dict, Iterator, List, Tuple

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from criproxy.cri.messages import api
from criproxy.cri.schema import SchemaField, load
from criproxy.report.yaml import LIMIT, dump
from criproxy.text import escape

SCHEMA = load()
HIDDEN = "<redacted>"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
REDACTED = sorted(
    (message, field.name) for message, fields in SCHEMA.messages.items() for field in fields.values() if field.redacted
)
MAPS_OF_INFO = sorted(message for message, fields in SCHEMA.messages.items() if "info" in fields)

INTEGERS = {
    "int32": st.integers(-(2**31), 2**31 - 1),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "uint32": st.integers(0, 2**32 - 1),
    "uint64": st.integers(0, 2**64 - 1),
}
SCALARS = {
    **INTEGERS,
    "bool": st.booleans(),
    "bytes": st.binary(max_size=20) | st.text(max_size=20).map(lambda text: text.encode()),
    "double": st.integers(-(2**30), 2**30).map(lambda number: number / 4),
    "string": st.text(max_size=20)
    | st.sampled_from(["yes", "NO", "null", "~", "1e3", "0x1f", "1_000", "12:30:45", "2001-01-01", "=", "<<", "- a"])
    | st.sampled_from(
        ["a: b", "a #b", " a", "a ", "a:", "#", "&a", "*a", "!a", "[a", "{a", "%a", "@a", "`a", "'a", '"']
    )
    | st.sampled_from(["a\nb", "a\\nb", "\x85", "\u2028", "\ufeff", "\U0001f600", "\x7f", "\t", "sha256:0a", "a b c"]),
}
"""Values of the schema's scalar types; strings that YAML could take for something else in particular."""


def dumped(name: str, message: Any) -> Any:
    return yaml.safe_load(dump(name, message.SerializeToString()))


def shown(name: str, field: SchemaField, key: str, value: Any) -> Any:
    """What the log may show of a value in a field of a message, and in a map under a key."""
    if field.redacted or (name, field.name) == ("KeyValue", "value") or field.name == "info" or key == LAST_APPLIED:
        return HIDDEN
    if field.type in SCHEMA.messages:
        return plain(field.type, value)
    if field.type in SCHEMA.enums:
        return {number: name for name, number in SCHEMA.enums[field.type].items()}.get(value, value)
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    return value


def plain(name: str, message: Any) -> Any:
    """A message as dictionaries and lists, by another way than the one under test."""
    found: Dict[str, Any] = {}
    for field in SCHEMA.messages[name].values():
        value = getattr(message, field.name)
        if field.map_value is not None:
            if value:
                found[field.name] = {key: shown(name, field, key, value[key]) for key in value}
        elif field.repeated:
            if len(value):
                found[field.name] = [shown(name, field, "", item) for item in value]
        elif (
            message.HasField(field.name) if field.type in SCHEMA.messages else value or math.copysign(1, value or 1) < 0
        ):
            found[field.name] = shown(name, field, "", value)
    return found


@st.composite
def filled(draw: Any, name: str, depth: int = 3) -> Any:
    """A message with some of its fields set to anything."""
    message = api()[name]()
    fields = list(SCHEMA.messages[name].values())
    for field in (
        draw(st.lists(st.sampled_from(fields), max_size=5, unique_by=lambda field: field.name)) if fields else []
    ):
        target = getattr(message, field.name)
        if field.map_value is not None:
            key = SCALARS["string"] | st.just(LAST_APPLIED)
            for entry, value in draw(st.dictionaries(key, SCALARS[field.map_value], max_size=3)).items():
                target[entry] = value
        elif field.type in SCHEMA.messages:
            if depth:
                part = draw(filled(field.type, depth - 1))
                target.extend([part, part]) if field.repeated else target.CopyFrom(part)
        else:
            values = SCALARS.get(field.type, st.integers(0, 5))
            if field.repeated:
                target.extend(draw(st.lists(values, max_size=3)))
            else:
                setattr(message, field.name, draw(values))
    return message


@settings(suppress_health_check=list(HealthCheck), deadline=None)
@given(st.data())
def test_yaml_reads_back_what_any_message_holds(data: Any) -> None:
    name = data.draw(st.sampled_from(sorted(SCHEMA.messages)))
    message = data.draw(filled(name))
    assert dumped(name, message) == plain(name, message)


@settings(deadline=None)
@given(st.text())
def test_any_string_reads_back(text: str) -> None:
    message = api()["PodSandboxConfig"](hostname=text, labels={text: text})
    expected = {"hostname": text} if text else {}
    assert dumped("PodSandboxConfig", message) == {**expected, "labels": {text: text}}


@settings(deadline=None)
@given(st.text())
def test_no_string_makes_a_line_of_its_own_or_hides_in_one(text: str) -> None:
    lines = dump("PodSandboxConfig", api()["PodSandboxConfig"](hostname=f"a{text}").SerializeToString())
    assert lines.count("\n") == 1
    assert lines[:-1].isprintable()
    assert escape(text).isprintable()


@settings(deadline=None)
@given(st.binary(max_size=100))
def test_any_bytes_read_back_or_are_said_to_be_no_message(body: bytes) -> None:
    text = dump("ContainerStatusResponse", body)
    assert text.endswith("\n")
    if text.startswith("# "):
        assert text == f"# {len(body)} bytes that are not a ContainerStatusResponse\n"
    else:
        yaml.safe_load(text)


def test_a_message_is_written_in_block_style() -> None:
    request: Any = api()["CreateContainerRequest"](pod_sandbox_id="pod")
    request.config.metadata.name = "web"
    request.config.command.extend(["sleep", "1"])
    request.config.mounts.add(host_path="/a", readonly=True, propagation=2)
    request.config.mounts.add()
    request.config.labels.update({"b": "2", "a": "yes it is"})
    request.config.linux.resources.cpu_shares = 2**60
    request.config.linux.security_context.SetInParent()
    assert dump("CreateContainerRequest", request.SerializeToString()) == (
        'pod_sandbox_id: "pod"\n'
        "config:\n"
        "  metadata:\n"
        '    name: "web"\n'
        "  command:\n"
        '    - "sleep"\n'
        '    - "1"\n'
        "  mounts:\n"
        '    - host_path: "/a"\n'
        "      readonly: true\n"
        "      propagation: PROPAGATION_BIDIRECTIONAL\n"
        "    - {}\n"
        "  labels:\n"
        '    "a": "yes it is"\n'
        '    "b": "2"\n'
        "  linux:\n"
        "    resources:\n"
        "      cpu_shares: 1152921504606846976\n"
        "    security_context: {}\n"
    )


def test_an_empty_message_is_an_empty_mapping() -> None:
    assert dump("VersionRequest", b"") == "{}\n"


def test_bytes_are_text_with_what_is_none_escaped() -> None:
    message = api()["ExecSyncResponse"](stdout="caf\u00e9\n".encode(), stderr=b"\xff\x00")
    assert dump("ExecSyncResponse", message.SerializeToString()) == (
        'stdout: "caf\u00e9\\n"\nstderr: "\\\\xff\\u0000"\n'
    )


@pytest.mark.parametrize(("value", "text"), [(0.25, "0.25"), (1e16, "1e+16"), (-math.inf, "-Infinity")])
def test_a_number_with_a_fraction_is_shown_as_json_has_it(value: float, text: str) -> None:
    assert dump("PsiData", api()["PsiData"](Avg10=value).SerializeToString()) == f"Avg10: {text}\n"


def test_a_number_of_an_enumeration_that_has_no_name_is_shown() -> None:
    message = api()["ContainerStatus"](state=77)
    assert dumped("ContainerStatus", message) == {"state": 77}


# What is not shown.


def test_the_credentials_of_a_pull_are_among_what_the_schema_redacts() -> None:
    credentials = {("AuthConfig", name) for name in ("password", "auth", "identity_token", "registry_token")}
    assert credentials <= set(REDACTED)


def holders(wanted: str) -> Iterator[Tuple[str, SchemaField]]:
    """The messages that have a field of this message's type, with that field."""
    for name, fields in SCHEMA.messages.items():
        for field in fields.values():
            if field.type == wanted:
                yield name, field


def secrets(name: str, field: SchemaField) -> List[Tuple[str, Any]]:
    """Messages with a secret in a field: the field's own message, and each that holds one."""
    value: Any = b"s3cret" if field.type == "bytes" else "s3cret"
    message = api()[name](**{field.name: [value, value] if field.repeated else value})
    found = [(name, message)]
    for holder, holding in holders(name):
        outer = api()[holder]()
        target = getattr(outer, holding.name)
        target.extend([message]) if holding.repeated else target.CopyFrom(message)
        found.append((holder, outer))
    return found


@pytest.mark.parametrize(("name", "field"), REDACTED)
def test_a_redacted_field_is_only_said_to_be_set(name: str, field: str) -> None:
    for outer, message in secrets(name, SCHEMA.messages[name][field]):
        text = dump(outer, message.SerializeToString())
        assert f"{field}: {HIDDEN}\n" in text
        assert "s3cret" not in text
    assert field not in dump(name, b"")


def test_a_pull_shows_who_pulls_but_not_with_what() -> None:
    request: Any = api()["PullImageRequest"]()
    request.image.image = "busybox"
    request.auth.username = "user"
    request.auth.password = "s3cret"
    assert dumped("PullImageRequest", request) == {
        "image": {"image": "busybox"},
        "auth": {"username": "user", "password": HIDDEN},
    }


def test_of_environment_variables_only_the_names_are_shown() -> None:
    request: Any = api()["CreateContainerRequest"]()
    request.config.envs.add(key="TOKEN", value=b"s3cret")
    request.config.envs.add(key="BINARY", value=b"\xff")
    request.config.envs.add(key="EMPTY")
    assert dumped("CreateContainerRequest", request) == {
        "config": {"envs": [{"key": "TOKEN", "value": HIDDEN}, {"key": "BINARY", "value": HIDDEN}, {"key": "EMPTY"}]}
    }


def test_the_manifest_that_kubectl_keeps_in_an_annotation_is_not_shown() -> None:
    annotations = {LAST_APPLIED: '{"env": "s3cret"}', "kubernetes.io/target-runtime": "alt.test"}
    request: Any = api()["RunPodSandboxRequest"](config=api()["PodSandboxConfig"](annotations=annotations))
    assert dumped("RunPodSandboxRequest", request) == {
        "config": {"annotations": {LAST_APPLIED: HIDDEN, "kubernetes.io/target-runtime": "alt.test"}}
    }


@pytest.mark.parametrize("name", MAPS_OF_INFO)
def test_what_a_runtime_says_of_itself_when_asked_to_be_verbose_is_not_shown(name: str) -> None:
    message = api()[name](info={"info": '{"process": {"env": ["TOKEN=s3cret"]}}'})
    assert dumped(name, message) == {"info": {"info": HIDDEN}}


# What cannot be shown.


def test_fields_unknown_here_are_counted() -> None:
    unknown = b"\x9a\xf0\x01\x03abc"
    known = api()["PodSandboxStatusRequest"](pod_sandbox_id="pod").SerializeToString()
    assert dump("PodSandboxStatusRequest", known + unknown) == ('pod_sandbox_id: "pod"\n# 7 bytes in unknown fields\n')
    assert dump("VersionResponse", unknown) == "{}\n# 7 bytes in unknown fields\n"


def test_a_message_of_a_name_unknown_here_is_said_to_be_one() -> None:
    assert dump("Frob\nRequest", b"abc") == "# 3 bytes of an unknown message: Frob\\nRequest\n"


@pytest.mark.parametrize("body", [b"\xff", b"\x0a\x05ab", b"\x0a\x01\xff"])
def test_what_is_no_such_message_is_said_to_be_none(body: bytes) -> None:
    assert dump("PodSandboxStatusRequest", body) == f"# {len(body)} bytes that are not a PodSandboxStatusRequest\n"


@pytest.mark.parametrize("size", [1, 1000, 100_000])
def test_a_message_that_is_too_long_is_cut_with_a_note(size: int) -> None:
    response: Any = api()["ListContainersResponse"]()
    for _ in range(max(2, 200_000 // size)):
        response.containers.add(id="\u00e9" * size)
    body = response.SerializeToString()
    text = dump("ListContainersResponse", body)
    kept, note = text[:-1].rsplit("\n", 1)
    assert note == f"# cut here: the whole message has {len(body)} bytes"
    assert LIMIT - 8 <= len(kept.encode()) <= LIMIT
    assert kept.startswith('containers:\n  - id: "\u00e9')


def test_a_single_long_value_is_cut_too() -> None:
    response: Any = api()["ExecSyncResponse"](stdout=b"\x00" * 300_000, stderr=b"\xff" * 300_000)
    text = dump("ExecSyncResponse", response.SerializeToString())
    assert text.startswith('stdout: "\\u0000\\u0000')
    assert len(text) < LIMIT + 100
    assert f"\n# cut here: the whole message has {response.ByteSize()} bytes\n" in text
