"""From parsed JSON to a frozen dataclass, by the dataclass's own annotations and nothing more."""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any, Literal, TypeVar, Union

from pyqrt.errors import ModelError

T = TypeVar("T")

MAX_STRING = 1024


def decode(kind: type[T], value: Any, where: str) -> T:
    """`value` as an instance of the dataclass `kind`.

    Every field must have exactly the annotated type: a bool is no int, an unknown key is an
    error, a field without a default must be there. Strings are at most `MAX_STRING` characters
    without control characters. Raises ModelError naming the place, beginning with `where`.
    """
    return typing.cast(T, _decode(kind, value, where))


def _decode(kind: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _decode_fields(kind, value, where)
    if origin is Literal:
        _require(type(value) is str and value in arguments, value, where, " or ".join(map(repr, arguments)))
        return value
    if origin is tuple:
        _require(type(value) in (list, tuple), value, where, "a list")
        return tuple(_decode(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin is dict:
        _require(type(value) is dict, value, where, "an object")
        return {
            _decode(arguments[0], key, f"a key of {where}"): _decode(arguments[1], item, f"{where}.{key}")
            for key, item in value.items()
        }
    if origin in (Union, types.UnionType):
        names = " or ".join(argument.__name__ for argument in arguments)
        _require(type(value) in arguments, value, where, names)
        return _decode(type(value), value, where)
    if kind is float:
        _require(type(value) in (int, float), value, where, "a number")
        return float(value)
    _require(type(value) is kind, value, where, f"of type {kind.__name__}")
    if kind is str:
        printable = all(c >= " " and not "\x7f" <= c <= "\x9f" for c in value)
        _require(len(value) <= MAX_STRING and printable, value, where, "a plain, short string")
    return value


def _decode_fields(kind: Any, value: Any, where: str) -> Any:
    _require(type(value) is dict, value, where, "an object")
    fields = {field.name: field for field in dataclasses.fields(kind)}
    unknown = sorted(set(value) - set(fields))
    if unknown:
        raise ModelError(f"{where} has the unknown key {unknown[0]!r}; known: {', '.join(fields)}")
    hints = typing.get_type_hints(kind)
    decoded = {}
    for name, field in fields.items():
        if name in value:
            decoded[name] = _decode(hints[name], value[name], f"{where}.{name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ModelError(f"{where} lacks the key {name!r}")
    return kind(**decoded)


def _require(condition: bool, value: Any, where: str, expected: str) -> None:
    if not condition:
        shown = repr(value)
        raise ModelError(f"{where} is {shown[:60]}{'...' if len(shown) > 60 else ''}, not {expected}")
