# SPDX-License-Identifier: GPL-3.0-or-later
"""The interface definitions: that they parse, that errors.py has just their errors, and that they are enforced."""

from __future__ import annotations

import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamvaultd import errors
from streamvaultd.varlink import idl
from streamvaultd.varlink.server import read_definition

NAMES = ["io.streamvault.Broker", "io.streamvault.Recorder", "org.varlink.service"]
# Raised by clients about a service that they cannot reach or understand, or need not: no service answers them
OF_CLIENTS = {"DaemonNotRunning", "ConnectionLost", "RemoteError", "DumpInvalid", "TransferConflict"}

EXAMPLE = """# What it is
interface org.example.Test-1

type Inner (size: int, ratio: ?float, more: ?[]Inner)
type Colour (red, green)  # an enum

method Paint(
  # a comment between
  colour: Colour,
  where: ?(x: int, y: int),
  tags: []string,
  labels: [string]Inner,
  free: ?object
) -> (done: bool)
method Nothing() -> ()

error Dry(colour: Colour, left: int)
error Gone()
"""


@pytest.mark.parametrize("name", NAMES)
def test_shipped_definitions_parse(name: str) -> None:
    interface = idl.parse(read_definition(name))
    assert interface.name == name
    assert interface.methods


def fields_used(cls: type[errors.VaultError]) -> set[str]:
    texts = string.Formatter().parse(cls.what + cls.hint)
    return {field for _, field, _, _ in texts if field}


@pytest.mark.parametrize("name", NAMES)
def test_each_defined_error_has_a_class_that_shows_its_fields(name: str) -> None:
    defined = idl.parse(read_definition(name)).errors
    classes = {full.rpartition(".")[2]: cls for full, cls in errors.BY_NAME.items() if full.startswith(f"{name}.")}
    assert set(defined) == set(classes) - OF_CLIENTS
    for error, struct in defined.items():
        assert fields_used(classes[error]) <= set(struct.fields), error


@pytest.mark.parametrize("name", NAMES)
def test_each_field_of_an_error_is_shown_to_the_user(name: str) -> None:
    for error, struct in idl.parse(read_definition(name)).errors.items():
        cls = errors.BY_NAME[f"{name}.{error}"]
        assert set(struct.fields) == fields_used(cls), error


def test_the_example_is_understood() -> None:
    interface = idl.parse(EXAMPLE)
    assert interface.types["Colour"] == idl.Enum(("red", "green"))
    paint = interface.methods["Paint"].parameters.fields
    assert paint["tags"] == idl.Array(idl.Scalar("string"))
    assert paint["labels"] == idl.Map(idl.Named("Inner"))
    assert paint["where"] == idl.Optional(idl.Struct({"x": idl.Scalar("int"), "y": idl.Scalar("int")}))
    assert interface.errors["Gone"] == idl.Struct({})


GOOD: dict[str, Any] = {"colour": "red", "tags": [], "labels": {}}


@pytest.mark.parametrize(
    "parameters",
    [
        GOOD,
        {**GOOD, "where": None, "free": None},
        {**GOOD, "where": {"x": -(1 << 63), "y": (1 << 63) - 1}},
        {**GOOD, "labels": {"": {"size": 1, "ratio": 2, "more": [{"size": 2, "ratio": 0.5}]}}},
        {**GOOD, "free": {"any": [1, {"thing": None}]}},
    ],
)
def test_fitting_parameters_pass(parameters: dict[str, Any]) -> None:
    idl.parse(EXAMPLE).validate_parameters("Paint", parameters)


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"colour": None}, "colour"),
        ({"colour": "blue"}, "colour"),
        ({"colour": ["red"]}, "colour"),
        ({"tags": None}, "tags"),
        ({"tags": "red"}, "tags"),
        ({"tags": ["a", 5]}, "tags[1]"),
        ({"where": {"x": 1}}, "where.y"),
        ({"where": {"x": 1, "y": True}}, "where.y"),
        ({"where": {"x": 1, "y": 1.0}}, "where.y"),
        ({"where": {"x": 1, "y": 1 << 63}}, "where.y"),
        ({"where": {"x": 1, "y": 2, "z": 3}}, "where.z"),
        ({"labels": {"k": {"size": 1, "more": [{"size": "big"}]}}}, "labels[k].more[0].size"),
        ({"labels": {"k": {"size": 1, "ratio": False}}}, "labels[k].ratio"),
        ({"free": []}, "free"),
        ({"other": None}, "other"),
        ({"x" * 500: 1}, "x" * 120 + "…"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, Any], path: str) -> None:
    with pytest.raises(errors.InvalidParameter) as caught:
        idl.parse(EXAMPLE).validate_parameters("Paint", GOOD | change)
    assert caught.value.fields == {"parameter": path}


def test_a_wrong_reply_is_the_services_own_fault() -> None:
    interface = idl.parse(EXAMPLE)
    interface.validate_reply("Paint", {"done": True})
    with pytest.raises(idl.ReplyMismatch, match="done"):
        interface.validate_reply("Paint", {})


def test_values_nested_too_deeply_are_refused() -> None:
    value: dict[str, Any] = {"size": 1}
    for _ in range(100):
        value = {"size": 1, "more": [value]}
    with pytest.raises(errors.InvalidParameter):
        idl.parse(EXAMPLE).validate_parameters("Paint", {**GOOD, "labels": {"k": value}})


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", 1),
        ("interface nodots", 1),
        ("interface a.b\ntype t (a: int)", 2),
        ("interface a.b\ntype T (a: int", 2),
        ("interface a.b\ntype T (a: int, a: int)", 2),
        ("interface a.b\ntype T (a, b: int)", 2),
        ("interface a.b\ntype T (a: ??int)", 2),
        ("interface a.b\ntype T (a: integer)", 2),
        ("interface a.b\ntype T (a: Missing)", 2),
        ("interface a.b\ntype T ()\n\nmethod T() -> ()", 4),
        ("interface a.b\nmethod M(a, b) -> ()", 2),
        ("interface a.b\nmethod M()", 2),
        ("interface a.b\nerror E(a: [int]string)", 2),
        ("interface a.b\ntype T (a: " + "[]" * 100 + "int)", 2),
        ("interface a.b\nnonsense", 2),
        ("interface a.b\n\x00", 2),
    ],
)
def test_what_is_no_interface_is_refused_with_its_line(text: str, line: int) -> None:
    with pytest.raises(idl.IdlError) as caught:
        idl.parse(text)
    assert caught.value.line == line


TOKENS = ["interface a.b\n", "type ", "method ", "error ", "T", "a", "(", ")", ":", "?", "[]", "[string]", "->", ",",
          " ", "\n", "#", "int", "Ü", "."]  # fmt: skip


@given(st.lists(st.sampled_from(TOKENS), max_size=60).map("".join) | st.text(max_size=60))
def test_any_text_is_an_interface_or_an_error(text: str) -> None:
    try:
        assert idl.parse(text).description == text
    except idl.IdlError:
        return


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["colour", "where", "tags", "labels", "x", "size", "more"]), inner)
        ),
    )
)
def test_any_parameters_pass_or_are_named(value: object) -> None:
    parameters = value if isinstance(value, dict) else {"labels": value, "where": value}
    try:
        idl.parse(EXAMPLE).validate_parameters("Paint", parameters)
    except errors.InvalidParameter:
        return
