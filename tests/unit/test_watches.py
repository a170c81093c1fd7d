"""Watched searches: each holder has so many, a reader who goes gives the place back, and all of
them together take a share of the node's time."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from hanse.errors import Blocked, Invalid, RateLimited
from hanse.servers.api.watches import REST, WATCHES_MAX, WATCHES_OF_ONE_MAX, Watches

SCOPE = {"type": "http", "asgi": {"spec_version": "2.3"}}


async def nothing() -> dict[str, Any]:
    """What a search that matches nothing answers."""
    return {"services": [], "total": 0, "notes": []}


async def at_once(_wait_s: float) -> None:
    """The registry changes all the time."""


async def silence() -> dict[str, Any]:
    """A reader who stays."""
    await asyncio.Event().wait()
    raise AssertionError


def always() -> bool:
    """A proof that never ends."""
    return True


def watches() -> Watches:
    """No streams yet."""
    return Watches(at_once, lambda: False)


async def test_who_asks_too_often_at_once_is_counted_before_the_first_answer() -> None:
    found, answered = watches(), asyncio.Event()

    async def slow() -> dict[str, Any]:
        await answered.wait()
        return await nothing()

    async def late() -> None:
        with pytest.raises(RateLimited):
            await found.open(nothing, {"a", "b"}, always)
        answered.set()

    asked = [found.open(slow, {"a"}, always) for _ in range(WATCHES_OF_ONE_MAX)]
    await asyncio.gather(*asked, late())
    await found.open(nothing, {"b"}, always)


async def test_many_holders_share_the_places_of_all() -> None:
    found = watches()
    for number in range(WATCHES_MAX):
        await found.open(nothing, {str(number)}, always)
    with pytest.raises(RateLimited):
        await found.open(nothing, {"another"}, always)


async def test_a_reader_who_goes_at_any_time_gives_the_place_back() -> None:
    found = watches()

    async def gone() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def taken(_message: Any) -> None:
        await asyncio.sleep(0)

    async def broken(_message: Any) -> None:
        raise OSError

    for _ in range(3):
        await (await found.open(nothing, {"a"}, always))(SCOPE, gone, taken)
        with contextlib.suppress(OSError, ExceptionGroup):
            await (await found.open(nothing, {"a"}, always))(SCOPE, silence, broken)
    assert found.open_now == 0

    async def refusing() -> dict[str, Any]:
        raise Invalid.at("words", "cannot be asked")

    with pytest.raises(Invalid):
        await found.open(refusing, {"a"}, always)
    assert found.open_now == 0


async def test_watched_searches_ask_one_after_another_and_rest_between(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hanse.servers.api.watches.PAUSE_S", 0)
    clock, asking, most, took_s, asked = asyncio.get_running_loop().time, 0, 0, 0.0, 0

    async def find() -> dict[str, Any]:
        nonlocal asking, most, took_s, asked
        asking, asked, began = asking + 1, asked + 1, clock()
        most = max(most, asking)
        if asked > 5:  # the first five are answered as any search is
            while clock() - began < 0.002:
                await asyncio.sleep(0)
            took_s += clock() - began
        asking -= 1
        return await nothing()

    async def taken(_message: Any) -> None:
        """Reads everything."""

    found = watches()
    began = clock()
    async with asyncio.TaskGroup() as group:
        streams = [
            group.create_task((await found.open(find, {"a"}, always))(SCOPE, silence, taken))
            for _ in range(5)
        ]
        while asked < 25:
            await asyncio.sleep(0.001)
        passed_s = clock() - began
        for stream in streams:
            stream.cancel()
    assert (most, found.open_now) == (1, 0)
    assert took_s < passed_s / REST


async def told(found: Watches, holds: Callable[[], bool]) -> list[bytes]:
    """All that a stream says until it ends by itself."""
    sent: list[bytes] = []

    async def take(message: Any) -> None:
        sent.append(message.get("body", b""))

    await (await found.open(nothing, {"a"}, holds))(SCOPE, silence, take)
    assert found.open_now == 0
    return sent


async def test_a_stream_ends_with_its_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hanse.servers.api.watches.PAUSE_S", 0)
    left = iter([True, True, False])
    text = b"".join(await told(watches(), lambda: next(left)))
    assert text.startswith(b"event: listed")
    assert b"event: error" not in text


async def test_a_stream_whose_key_is_banned_says_so_and_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hanse.servers.api.watches.PAUSE_S", 0)
    left = iter([True, True])

    def holds() -> bool:
        if next(left, None) is None:
            raise Blocked("this key was banned here")
        return True

    text = b"".join(await told(watches(), holds))
    assert b"event: error" in text
    assert b"banned" in text
