"""The SDK's functions: schemas from type hints, values checked by them, plain values wrapped."""

import asyncio
import dataclasses
from typing import Annotated, Any, Literal, TypedDict

import msgspec
import pytest

from hanse.agent.functions import Function
from hanse.errors import Invalid
from hanse.protocol.amount import Amount
from hanse.registry.schema import check_schema, violation

PRICE = Amount(1000)


class Point(msgspec.Struct):
    x: int
    y: int = 0


@dataclasses.dataclass
class Place:
    name: str
    at: Point


class Weather(TypedDict):
    celsius: float
    place: Place


class Tree(msgspec.Struct):
    value: int
    children: "list[Tree]" = []


def greet(name: str, times: int = 1, title: str | None = None) -> str:
    "Greet somebody by name."
    return " ".join([f"Hello, {title or ''}{name}"] * times)


async def slow_greet(name: str) -> str:
    await asyncio.sleep(0)
    return f"Hello, {name}"


async def answer(function: Function, **arguments: object) -> Any:
    """The structured content of a call, checked against the function's own schemas."""
    capability = function.capability
    assert violation(capability.input_schema, arguments) is None
    result = await function(dict(arguments))
    found = result["structuredContent"]
    assert capability.output_schema is not None
    assert violation(capability.output_schema, found) is None
    assert result["content"] == []
    return found


def test_a_function_s_name_words_and_price_become_a_capability() -> None:
    found = Function(greet, PRICE).capability
    assert (found.name, found.description, found.price) == (
        "greet",
        "Greet somebody by name.",
        PRICE,
    )
    assert Function(greet, PRICE, "hello").capability.name == "hello"


def test_hints_and_defaults_become_the_input_schema() -> None:
    schema = Function(greet, PRICE).capability.input_schema
    check_schema(schema, "schema")
    assert schema["required"] == ["name"]
    assert schema["properties"]["times"] == {"type": "integer", "default": 1}
    assert violation(schema, {"name": "Ada", "title": None}) is None
    assert violation(schema, {"name": "Ada", "times": "2"}) is not None
    assert violation(schema, {"name": "Ada", "age": 3}) is not None


async def test_a_plain_value_travels_under_result() -> None:
    function = Function(greet, PRICE)
    assert await answer(function, name="Ada", times=2) == {"result": "Hello, Ada Hello, Ada"}


async def test_a_default_is_used_when_the_argument_is_left_out() -> None:
    assert await answer(Function(greet, PRICE), name="Ada") == {"result": "Hello, Ada"}


async def test_an_async_function_is_awaited() -> None:
    assert await answer(Function(slow_greet, PRICE), name="Ada") == {"result": "Hello, Ada"}


async def test_a_plain_function_does_not_hold_up_the_loop() -> None:
    entered, go_on = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def blocks() -> int:
        loop.call_soon_threadsafe(entered.set)
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(5)
        return 1

    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(answer(Function(blocks, PRICE)))
        await entered.wait()
        go_on.set()
    assert running.result() == {"result": 1}


async def test_objects_travel_unwrapped_in_and_out() -> None:
    def move(place: Place, by: Point) -> Place:
        return Place(place.name, Point(place.at.x + by.x, place.at.y + by.y))

    def report(celsius: float) -> Weather:
        return {"celsius": celsius, "place": Place("here", Point(1))}

    def counts(words: list[str]) -> dict[str, int]:
        return {word: words.count(word) for word in words}

    moved = await answer(
        Function(move, PRICE), place={"name": "a", "at": {"x": 1}}, by={"x": 2, "y": 3}
    )
    assert moved == {"name": "a", "at": {"x": 3, "y": 3}}
    told = await answer(Function(report, PRICE), celsius=20)
    assert told == {"celsius": 20.0, "place": {"name": "here", "at": {"x": 1, "y": 0}}}
    assert await answer(Function(counts, PRICE), words=["a", "b", "a"]) == {"a": 2, "b": 1}


async def test_lists_choices_and_nothing_are_wrapped_with_their_definitions() -> None:
    def points(n: int) -> list[Point]:
        return [Point(n)]

    def either(big: bool) -> Point | str:
        return Point(1) if big else "small"

    def nothing() -> None:
        return None

    def choose(side: Literal["left", "right"]) -> Literal["left", "right"]:
        return side

    assert await answer(Function(points, PRICE), n=4) == {"result": [{"x": 4, "y": 0}]}
    assert await answer(Function(either, PRICE), big=True) == {"result": {"x": 1, "y": 0}}
    assert await answer(Function(either, PRICE), big=False) == {"result": "small"}
    assert await answer(Function(nothing, PRICE)) == {"result": None}
    assert await answer(Function(choose, PRICE), side="left") == {"result": "left"}
    schema = Function(choose, PRICE).capability.input_schema
    assert violation(schema, {"side": "up"}) is not None


async def test_a_type_that_names_itself_is_offered_whole() -> None:
    def grow(tree: Tree) -> Tree:
        return Tree(tree.value + 1, [tree])

    def forest(tree: Tree) -> list[Tree]:
        return [tree, tree]

    grown = Function(grow, PRICE)
    for capability in (grown.capability, Function(forest, PRICE).capability):
        check_schema(capability.input_schema, "input")
        check_schema(capability.output_schema, "output")
    tree = {"value": 1, "children": [{"value": 2, "children": []}]}
    assert await answer(grown, tree=tree) == {"value": 2, "children": [tree]}
    bad = {"value": 1, "children": [{"value": "x"}]}
    assert violation(grown.capability.input_schema, {"tree": bad}) is not None


async def test_bounds_in_hints_are_promised_and_checked() -> None:
    def half(n: Annotated[int, msgspec.Meta(ge=0, le=10, description="How many.")]) -> float:
        return n / 2

    function = Function(half, PRICE)
    field = function.capability.input_schema["properties"]["n"]
    assert field == {"type": "integer", "minimum": 0, "maximum": 10, "description": "How many."}
    with pytest.raises(Invalid) as caught:
        await function({"n": 11})
    assert caught.value.field == "input.n"


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({}, "input.name"),
        ({"name": 1}, "input.name"),
        ({"name": "Ada", "age": 3}, "input.age"),
    ],
)
async def test_arguments_of_other_types_are_refused_with_field_and_reason(
    arguments: dict[str, Any], field: str
) -> None:
    with pytest.raises(Invalid) as caught:
        await Function(greet, PRICE)(arguments)
    assert caught.value.field == field
    assert caught.value.reason


def test_a_function_that_cannot_be_described_is_refused_when_it_is_offered() -> None:
    def no_return(name: str):  # type: ignore[no-untyped-def]  # that is what is tested
        return name

    def no_hint(name) -> str:  # type: ignore[no-untyped-def]  # that is what is tested
        return str(name)

    def many(*names: str) -> str:
        return " ".join(names)

    def named(**names: str) -> str:
        return " ".join(names)

    def by_place(name: str, /) -> str:
        return name

    def strange(socket: asyncio.Event) -> str:
        return str(socket)

    def strange_answer() -> asyncio.Event:
        return asyncio.Event()

    for function, field, reason in (
        (no_return, "no_return", "return type"),
        (no_hint, "no_hint.name", "type hint"),
        (many, "many.names", "cannot be offered"),
        (named, "named.names", "cannot be offered"),
        (by_place, "by_place.name", "cannot be offered"),
        (strange, "strange.socket", "JSON"),
        (strange_answer, "strange_answer", "JSON"),
    ):
        with pytest.raises(Invalid) as caught:
            Function(function, PRICE)
        assert caught.value.field == field
        assert reason in caught.value.reason
