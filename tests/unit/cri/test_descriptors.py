"""What is written of messages, read by protobuf's own description of descriptions."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import descriptor_pb2, message_factory
from google.protobuf.descriptor_pb2 import FieldDescriptorProto

from criproxy.cri import descriptors, messages
from criproxy.cri.messages import api, strict
from criproxy.cri.schema import load


def test_a_description_is_what_protobuf_writes_of_the_same() -> None:
    theirs = descriptor_pb2.FileDescriptorProto(name="some.package.proto", package="some.package", syntax="proto3")
    outer = theirs.message_type.add(name="Outer")
    outer.field.add(name="first", number=1, label=1, type=9, oneof_index=0)
    outer.field.add(name="far", number=2**29 - 1, label=3, type=11, type_name=".some.package.Outer.MapEntry")
    inner = outer.nested_type.add(name="MapEntry")
    inner.options.map_entry = True
    inner.field.add(name="key", number=1, label=1, type=9)
    inner.field.add(name="value", number=2, label=1, type=3)
    values = outer.enum_type.add(name="Kind")
    values.value.add(name="NONE", number=0)
    values.value.add(name="MANY", number=300)
    outer.oneof_decl.add(name="first_presence")
    ours = descriptors.message(
        "Outer",
        (
            descriptors.field("first", 1, descriptors.SCALARS["string"], oneof=0),
            descriptors.field(
                "far", 2**29 - 1, descriptors.MESSAGE, descriptors.REPEATED, ".some.package.Outer.MapEntry"
            ),
        ),
        (descriptors.map_entry("MapEntry", descriptors.SCALARS["int64"]),),
        (descriptors.enum("Kind", {"NONE": 0, "MANY": 300}),),
        ("first_presence",),
    )
    assert descriptors.file("some.package", (ours,)) == theirs.SerializeToString(deterministic=True)


def test_types_and_labels_have_protobufs_numbers() -> None:
    for name, number in descriptors.SCALARS.items():
        assert number == FieldDescriptorProto.Type.Value(f"TYPE_{name.upper()}")
    assert descriptors.ENUM == FieldDescriptorProto.TYPE_ENUM
    assert descriptors.MESSAGE == FieldDescriptorProto.TYPE_MESSAGE
    assert descriptors.OPTIONAL == FieldDescriptorProto.LABEL_OPTIONAL
    assert descriptors.REPEATED == FieldDescriptorProto.LABEL_REPEATED


def test_a_class_is_the_one_that_protobuf_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of protobuf's C directly, and where that is not there or has other names."""
    made = _of_each()
    monkeypatch.setattr(messages, "_UPB", None)
    assert _of_each() == made
    container: Any = api()["Container"]
    assert message_factory.GetMessageClass(container.DESCRIPTOR) is container


def _of_each() -> Any:
    """Something written by classes of each kind."""
    wire = api()["ListContainersResponse"](containers=[{"id": "a", "labels": {"b": "c"}}]).SerializeToString()
    made: Any = messages.whole(load(), "test.made")
    some = {
        "whole": made["ListContainersResponse"],
        "strict": strict("test.strict", ["ListContainersResponse"])["ListContainersResponse"],
    }
    parsed = {kind: each.FromString(wire) for kind, each in some.items()}
    return {kind: (type(each).__name__, str(each), each.SerializeToString()) for kind, each in parsed.items()}
