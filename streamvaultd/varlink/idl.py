# SPDX-License-Identifier: GPL-3.0-or-later
"""The Varlink interface definition language (https://varlink.org/Interface-Definition), parsed and enforced.

`parse()` reads the text of one interface into frozen records; `Interface.validate_parameters()` and
`validate_reply()` hold a message against it. Both recurse to a fixed depth only, whatever the input.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from streamvaultd.errors import InvalidParameter

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NESTING_MAX = 32  # of types in a definition, and of values in a message
PATH_CHARS_MAX = 120  # of a parameter's path in an error: the key may be the client's own invention
INT_MIN, INT_MAX = -(1 << 63), (1 << 63) - 1


class IdlError(Exception):
    """The text is no Varlink interface; `line` is where it stops being one."""

    def __init__(self, why: str, line: int) -> None:
        self.line = line
        super().__init__(f"line {line}: {why}")


class ReplyMismatch(Exception):
    """A service answered what its own interface does not define."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """bool, int, float, string, or object (any JSON object)."""

    kind: str


@dataclass(frozen=True, slots=True)
class Named:
    """A type of the same interface, by its name."""

    name: str


@dataclass(frozen=True, slots=True)
class Optional:
    """?T: null and absent mean the same."""

    of: Type


@dataclass(frozen=True, slots=True)
class Array:
    """[]T"""

    of: Type


@dataclass(frozen=True, slots=True)
class Map:
    """[string]T"""

    of: Type


@dataclass(frozen=True, slots=True)
class Enum:
    """One of these strings."""

    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Struct:
    """Fields by name, in the order of the text."""

    fields: Mapping[str, Type]


Type = Scalar | Named | Optional | Array | Map | Enum | Struct


@dataclass(frozen=True, slots=True)
class Method:
    parameters: Struct
    reply: Struct


@dataclass(frozen=True, slots=True)
class Interface:
    """One parsed interface; `description` is the text it was parsed from."""

    name: str
    description: str
    types: Mapping[str, Type] = field(default_factory=dict)
    methods: Mapping[str, Method] = field(default_factory=dict)
    errors: Mapping[str, Struct] = field(default_factory=dict)

    def validate_parameters(self, method: str, parameters: Mapping[str, Any]) -> None:
        """Raise InvalidParameter, naming the path, for what is unknown, missing or of the wrong type."""
        self._check_struct(self.methods[method].parameters, parameters, "", 0)

    def validate_reply(self, method: str, parameters: Mapping[str, Any]) -> None:
        """Raise ReplyMismatch for parameters of a reply that are not as defined."""
        try:
            self._check_struct(self.methods[method].reply, parameters, "", 0)
        except InvalidParameter as error:
            raise ReplyMismatch(f"{self.name}.{method} replied a wrong '{error.fields['parameter']}'") from None

    def _check(self, expected: Type, value: object, path: str, depth: int) -> None:
        if depth > NESTING_MAX:
            raise _invalid(path)
        match expected:
            case Scalar(kind):
                _check_scalar(kind, value, path)
            case Named(name):
                self._check(self.types[name], value, path, depth + 1)
            case Optional(of):
                if value is not None:
                    self._check(of, value, path, depth)
            case Array(of):
                for index, item in enumerate(_expect(value, list, path)):
                    self._check(of, item, f"{path}[{index}]", depth + 1)
            case Map(of):
                for key, item in _expect(value, dict, path).items():
                    self._check(of, item, f"{path}[{key}]", depth + 1)
            case Enum(values):
                if value not in values:
                    raise _invalid(path)
            case Struct():
                self._check_struct(expected, _expect(value, dict, path), path, depth + 1)

    def _check_struct(self, struct: Struct, value: Mapping[str, Any], path: str, depth: int) -> None:
        prefix = f"{path}." if path else ""
        for key in value:
            if key not in struct.fields:
                raise _invalid(prefix + key)
        for key, expected in struct.fields.items():
            self._check(expected, value.get(key), prefix + key, depth)


def parse(text: str) -> Interface:
    """Read one interface definition; anything else raises IdlError."""
    return _Parser(text).interface()


def _invalid(path: str) -> InvalidParameter:
    return InvalidParameter(parameter=path if len(path) <= PATH_CHARS_MAX else path[:PATH_CHARS_MAX] + "…")


def _expect(value: object, kind: type[Any], path: str) -> Any:
    if not isinstance(value, kind):
        raise _invalid(path)
    return value


def _check_scalar(kind: str, value: object, path: str) -> None:
    match kind, value:
        case ("bool", bool()) | ("string", str()) | ("object", dict()):
            return
        case ("int" | "float", bool()):  # in Python, a bool is an int
            raise _invalid(path)
        case ("int", int(number)) if INT_MIN <= number <= INT_MAX:
            return
        case ("float", int() | float()):
            return
        case _:
            raise _invalid(path)


# A token is a name (an interface's has dots and dashes), or punctuation; comments and space separate
_TOKEN = re.compile(
    r"(?P<skip>(?:[ \t\r\n]+|#[^\n]*)+)"
    r"|(?P<name>[A-Za-z][A-Za-z0-9_.-]*(?<![-.]))"
    r"|(?P<mark>->|\[\]|\[string\]|[?():,])"
)
_INTERFACE_NAME = re.compile(r"[A-Za-z](-*[A-Za-z0-9])*(\.[A-Za-z0-9](-*[A-Za-z0-9])*)+")
_TYPE_NAME = re.compile(r"[A-Z][A-Za-z0-9]*")
_FIELD_NAME = re.compile(r"[A-Za-z](_?[A-Za-z0-9])*")
_SCALARS = frozenset({"bool", "int", "float", "string", "object"})


class _Parser:
    """Recursive descent over the tokens of one text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(self._scan())
        self._next = 0

    def _scan(self) -> Iterator[tuple[str, str, int]]:
        position = 0
        while position < len(self._text):
            token = _TOKEN.match(self._text, position)
            if token is None:
                raise IdlError(f"unexpected {self._text[position]!r}", self._line(position))
            if token.lastgroup != "skip":
                yield str(token.lastgroup), token[0], position
            position = token.end()
        yield "end", "", position

    def _line(self, position: int) -> int:
        return self._text.count("\n", 0, position) + 1

    def _fail(self, expected: str) -> IdlError:
        _, found, position = self._tokens[self._next]
        return IdlError(f"expected {expected}, found {found or 'the end'!r}", self._line(position))

    def _peek(self) -> str:
        return self._tokens[self._next][1]

    def _accept(self, text: str) -> bool:
        if self._peek() != text:
            return False
        self._next += 1
        return True

    def _require(self, text: str) -> None:
        if not self._accept(text):
            raise self._fail(repr(text))

    def _name(self, pattern: re.Pattern[str], expected: str) -> str:
        kind, text, _ = self._tokens[self._next]
        if kind != "name" or not pattern.fullmatch(text):
            raise self._fail(expected)
        self._next += 1
        return text

    def interface(self) -> Interface:
        self._require("interface")
        name = self._name(_INTERFACE_NAME, "an interface name")
        types: dict[str, Type] = {}
        methods: dict[str, Method] = {}
        errors: dict[str, Struct] = {}
        while self._tokens[self._next][0] != "end":
            self._member(types, methods, errors)
        interface = Interface(name, self._text, types, methods, errors)
        self._resolve(interface)
        return interface

    def _member(self, types: dict[str, Type], methods: dict[str, Method], errors: dict[str, Struct]) -> None:
        keyword = self._peek()
        if keyword not in ("type", "method", "error"):
            raise self._fail("'type', 'method' or 'error'")
        self._next += 1
        name = self._name(_TYPE_NAME, "a name that begins with a capital letter")
        if name in types or name in methods or name in errors:
            raise self._fail(f"'{name}' to be defined once")
        match keyword:
            case "type":
                types[name] = self._braces(0)
            case "method":
                parameters = self._struct()
                self._require("->")
                methods[name] = Method(parameters, self._struct())
            case _:
                errors[name] = self._struct()

    def _struct(self) -> Struct:
        braces = self._braces(0)
        if not isinstance(braces, Struct):
            raise self._fail("fields with types before this")
        return braces

    def _type(self, depth: int) -> Type:
        if depth > NESTING_MAX:
            raise self._fail("types nested less deeply")
        if self._accept("?"):
            if self._peek() == "?":
                raise self._fail("a type after '?'")
            return Optional(self._type(depth + 1))
        if self._accept("[]"):
            return Array(self._type(depth + 1))
        if self._accept("[string]"):
            return Map(self._type(depth + 1))
        if self._peek() == "(":
            return self._braces(depth + 1)
        if self._peek() in _SCALARS:
            self._next += 1
            return Scalar(self._tokens[self._next - 1][1])
        return Named(self._name(_TYPE_NAME, "a type"))

    def _braces(self, depth: int) -> Struct | Enum:
        """`(a, b)` is an enum, `(a: int, b: string)` a struct, `()` a struct without fields."""
        self._require("(")
        if self._accept(")"):
            return Struct({})
        first = self._name(_FIELD_NAME, "a field name")
        is_struct = self._peek() == ":"
        members: dict[str, Type] = {}
        name = first
        while True:
            if name in members:
                raise self._fail(f"'{name}' to be there once")
            if is_struct:
                self._require(":")
            members[name] = self._type(depth) if is_struct else Scalar("string")
            if self._accept(")"):
                return Struct(members) if is_struct else Enum(tuple(members))
            self._require(",")
            name = self._name(_FIELD_NAME, "a field name")

    def _resolve(self, interface: Interface) -> None:
        roots: list[Type] = [*interface.types.values(), *interface.errors.values()]
        for method in interface.methods.values():
            roots += [method.parameters, method.reply]
        for name in (name for root in roots for name in _names_in(root)):
            if name not in interface.types:
                raise IdlError(f"type '{name}' is not defined", self._line(len(self._text)))


def _names_in(of: Type) -> Iterator[str]:
    match of:
        case Named(name):
            yield name
        case Optional(inner) | Array(inner) | Map(inner):
            yield from _names_in(inner)
        case Struct(fields):
            for inner in fields.values():
                yield from _names_in(inner)
        case _:
            return
