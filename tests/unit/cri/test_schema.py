"""api.proto against the CRI's own definition, as protoc has read that for somebody else's package."""

from __future__ import annotations

import importlib
from typing import Any, Dict, Iterator, Set, Tuple

import pytest
from cri_reference import is_map, is_repeated

from criproxy.cri.schema import SchemaField, load, parse

_SCALARS = {1: "double", 3: "int64", 4: "uint64", 5: "int32", 8: "bool", 9: "string", 12: "bytes", 13: "uint32"}

VERSIONS = ("v1", "v1alpha2")

RETYPED = {
    # Kubernetes made bytes of it after their package was made, for values that are no text; the same on the wire.
    ("KeyValue", "value"): ("string", "bytes"),
}
"""Where they have another type than we: theirs, ours."""

RENAMED = {"Signal": "SIGNAL_"}
"""Enumerations whose values have since got a prefix; a name is not on the wire."""

NEWER_METHODS = {
    "CheckpointPod",
    "RestorePod",
    "StreamContainerStats",
    "StreamContainers",
    "StreamImages",
    "StreamPodSandboxMetrics",
    "StreamPodSandboxStats",
    "StreamPodSandboxes",
}
NEWER_FIELDS = {
    ("ImageSpec", "image_ref"),
    ("Mount", "mount_options"),
    ("RuntimeFeatures", "mount_options"),
    ("RuntimeFeatures", "user_namespaces_host_network"),
}
"""What Kubernetes 1.36 and 1.37 brought: newer than their package."""


def theirs(version: str) -> Any:
    """Their file's descriptor."""
    return pytest.importorskip(f"cri_api.{version}.api_pb2").DESCRIPTOR


def type_of(field: Any) -> str:
    """A field's type as api.proto spells it."""
    if is_map(field):
        key, value = (type_of(field.message_type.fields_by_name[name]) for name in ("key", "value"))
        return f"map<{key}, {value}>"
    named = field.message_type or field.enum_type
    return _SCALARS[field.type] if named is None else str(named.name)


def fields_of(version: str) -> Iterator[Tuple[str, Any]]:
    """All fields of their messages, with the message's name."""
    for name, message in theirs(version).message_types_by_name.items():
        for field in message.fields:
            yield name, field


@pytest.mark.parametrize("version", VERSIONS)
def test_every_message_of_theirs_is_in_ours(version: str) -> None:
    names = set(theirs(version).message_types_by_name)
    assert len(names) > 100
    assert names <= set(load().messages)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_field_of_theirs_is_in_ours(version: str) -> None:
    differences: Dict[Tuple[str, str], Tuple[str, str]] = {}
    for message, field in fields_of(version):
        ours = load().messages[message][field.name]
        assert ours.number == field.number, (message, field.name)
        assert (ours.repeated or ours.map_value is not None) == is_repeated(field), (message, field.name)
        if ours.type != type_of(field):
            differences[message, field.name] = (type_of(field), ours.type)
    assert differences == RETYPED


def test_every_field_of_ours_is_in_theirs_or_newer() -> None:
    known = {(message, field.name) for message, field in fields_of("v1")}
    messages = theirs("v1").message_types_by_name
    ours = {(message, name) for message, fields in load().messages.items() for name in fields if message in messages}
    assert ours - known == NEWER_FIELDS


@pytest.mark.parametrize("version", VERSIONS)
def test_every_enumeration_of_theirs_is_in_ours(version: str) -> None:
    file = theirs(version)
    enums = list(file.enum_types_by_name.values())
    for message in file.message_types_by_name.values():
        enums += message.enum_types
    assert len(enums) > 5
    for enum in enums:
        prefix = RENAMED.get(enum.name, "")
        assert {prefix + value.name: value.number for value in enum.values} == load().enums[enum.name]


def test_every_enumeration_of_ours_is_in_theirs() -> None:
    file = theirs("v1")
    names = set(file.enum_types_by_name)
    names.update(enum.name for message in file.message_types_by_name.values() for enum in message.enum_types)
    assert set(load().enums) == names


@pytest.mark.parametrize("version", VERSIONS)
def test_every_method_of_theirs_is_in_ours(version: str) -> None:
    for service in theirs(version).services_by_name.values():
        for method in service.methods:
            rpc = load().methods[method.name]
            assert rpc.service == service.name
            assert (rpc.request, rpc.response) == (method.input_type.name, method.output_type.name)


def test_every_method_of_ours_is_in_theirs_or_newer() -> None:
    known: Set[str] = set()
    for service in theirs("v1").services_by_name.values():
        known.update(method.name for method in service.methods)
    assert set(load().methods) - known == NEWER_METHODS


def test_every_stream_of_theirs_is_one_of_ours() -> None:
    """Descriptors do not say everywhere what is a stream, but what protoc made for grpcio does."""
    theirs("v1")
    grpc = importlib.import_module("cri_api.v1.api_pb2_grpc")
    streaming = set()

    class Channel:
        """Notes which methods a client would call as streams."""

        def unary_unary(self, path: str, *_: Any, **__: Any) -> None:
            """One answer."""

        def unary_stream(self, path: str, *_: Any, **__: Any) -> None:
            """A stream of answers."""
            streaming.add(path.rpartition("/")[2])

    grpc.RuntimeServiceStub(Channel())
    grpc.ImageServiceStub(Channel())
    assert streaming == {name for name, rpc in load().methods.items() if rpc.server_streaming} - NEWER_METHODS


def test_newer_methods_that_are_called_streams_are_streams() -> None:
    for name in NEWER_METHODS:
        assert load().methods[name].server_streaming == name.startswith("Stream")


def test_what_must_not_be_shown_is_marked() -> None:
    marked = {
        (message, name) for message, fields in load().messages.items() for name in fields if fields[name].redacted
    }
    assert marked == {("AuthConfig", name) for name in ("password", "auth", "identity_token", "registry_token")}


def test_numbers_are_used_once_in_a_message() -> None:
    for name, fields in load().messages.items():
        numbers = [field.number for field in fields.values()]
        assert len(numbers) == len(set(numbers)), name


def test_types_are_known() -> None:
    schema = load()
    for name, fields in schema.messages.items():
        for field in fields.values():
            known = field.map_value in _SCALARS.values() if field.map_value else field.type in _SCALARS.values()
            assert known or field.type in schema.messages or field.type in schema.enums, (name, field.name)
    for rpc in schema.methods.values():
        assert {rpc.request, rpc.response} <= set(schema.messages)


# The reader of the file.

_TEXT = """
// A comment.
syntax = "proto3";
package some.where;

service Service {
  rpc Ask(Question) returns (Answer) {}  // 1.23
  rpc Watch(Question) returns (stream Answer) {}
}

enum Colour {
  RED = 0;
  BLUE = 4;
}

message Question {}

message Answer {
  enum Kind {
    NO = 0;
    YES = 1;
  }
  Kind kind = 1;
  repeated string words = 2;  // words
  map<string, bytes> info = 3;
  string secret = 4 [debug_redact = true];
  string old = 5 [deprecated = true];
}
"""


def test_a_schema_is_read() -> None:
    schema = parse(_TEXT)
    assert schema.messages == {
        "Question": {},
        "Answer": {
            "kind": SchemaField("kind", 1, "Kind"),
            "words": SchemaField("words", 2, "string", repeated=True),
            "info": SchemaField("info", 3, "map<string, bytes>", map_value="bytes"),
            "secret": SchemaField("secret", 4, "string", redacted=True),
            "old": SchemaField("old", 5, "string"),
        },
    }
    assert schema.enums == {"Colour": {"RED": 0, "BLUE": 4}, "Kind": {"NO": 0, "YES": 1}}
    assert [(rpc.service, rpc.name, rpc.request, rpc.response) for rpc in schema.methods.values()] == [
        ("Service", "Ask", "Question", "Answer"),
        ("Service", "Watch", "Question", "Answer"),
    ]
    assert [rpc.server_streaming for rpc in schema.methods.values()] == [False, True]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (1, "message Oneof { string a = 1; }"),
        (2, "message A {\n  oneof b {\n  }\n}"),
        (2, "message A {\n  string a;\n}"),
        (2, "enum A {\n  string a = 1;\n}"),
        (2, "service A {\n  rpc B(stream C) returns (D) {}\n}"),
        (1, "}"),
        (1, 'import "other.proto";'),
    ],
)
def test_a_line_that_is_not_understood_is_named(line: int, text: str) -> None:
    with pytest.raises(ValueError, match=f"line {line}: not understood"):
        parse(text)
