"""Reads that may have to wait: at once when they can, in order and in bounds when they cannot."""

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest

from hanse.errors import HanseError, Invalid, RateLimited
from hanse.servers.relay.reads import Line, ReadLimits, Reads


async def at_once(value: str) -> str:
    return value


async def refusing() -> str:
    raise Invalid.at("x", "no")


class Waiting:
    """Reads that wait until they are told to go on."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.begun: list[str] = []
        self.cancelled: list[str] = []

    async def read(self, value: str) -> str:
        self.begun.append(value)
        try:
            await self.gate.wait()
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.cancelled.append(value)
            raise
        return value


def into(found: list[Any]) -> Callable[[Any], None]:
    return lambda result: found.append(
        type(result).__name__ if isinstance(result, HanseError) else result
    )


async def settle(reads: Reads) -> None:
    while len(reads):
        await asyncio.sleep(0)


async def test_a_read_that_need_not_wait_is_done_in_the_same_turn_without_a_task() -> None:
    found: list[Any] = []
    async with Reads(ReadLimits(), False) as reads:
        Line(reads).read("a", at_once("x"), into(found))
        Line(reads).read("a", refusing(), into(found))
        assert (found, len(reads)) == (["x", "Invalid"], 0)


async def test_a_read_that_waits_goes_on_where_it_was() -> None:
    found: list[Any] = []
    waiting = Waiting()
    async with Reads(ReadLimits(), False) as reads:
        Line(reads).read("a", waiting.read("x"), into(found))
        assert (waiting.begun, found, len(reads)) == (["x"], [], 1)
        waiting.gate.set()
        await settle(reads)
    assert (waiting.begun, found) == (["x"], ["x"])


async def test_an_error_after_a_wait_is_told_like_one_before() -> None:
    async def late(error: Exception) -> str:
        await asyncio.sleep(0)
        raise error

    found: list[Any] = []
    async with Reads(ReadLimits(), False) as reads:
        line = Line(reads)
        line.read("a", late(Invalid.at("x", "no")), into(found))
        await settle(reads)
    assert found == ["Invalid"]


async def test_a_fault_of_the_store_costs_one_read_only(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(wait: bool) -> str:
        if wait:
            await asyncio.sleep(0)
        raise RuntimeError("broken")

    found: list[Any] = []
    async with Reads(ReadLimits(), False) as reads:
        line = Line(reads)
        for wait in (False, True):
            line.read(wait, broken(wait), into(found))
        await settle(reads)
        line.read("b", at_once("x"), into(found))
    assert found == ["HanseError", "HanseError", "x"]
    assert len(caplog.records) == 2


async def test_reads_over_the_bound_wait_their_turn_and_beyond_are_refused() -> None:
    found: list[Any] = []
    waiting = Waiting()
    async with Reads(ReadLimits(running_max=2, waiting_max=2), False) as reads:
        line = Line(reads)
        for number in range(5):
            line.read(number, waiting.read(str(number)), into(found))
        assert (waiting.begun, found) == (["0", "1"], ["RateLimited"])
        Line(reads).read("b", at_once("other"), into(found))
        waiting.gate.set()
        await settle(reads)
    assert found == [RateLimited.__name__, "other", "0", "1", "2", "3"]


async def test_a_cancelled_read_is_never_told_and_leaves_its_place() -> None:
    found: list[Any] = []
    waiting = Waiting()
    async with Reads(ReadLimits(running_max=1), False) as reads:
        line = Line(reads)
        for name in "abc":
            line.read(name, waiting.read(name), into(found))
        line.cancel("b")
        line.cancel("a")
        line.cancel("a")
        assert waiting.begun == ["a", "c"]
        waiting.gate.set()
        await settle(reads)
    assert (found, waiting.cancelled) == (["c"], [])


async def test_a_read_under_the_same_name_takes_the_place_of_the_first() -> None:
    found: list[Any] = []
    waiting = Waiting()
    async with Reads(ReadLimits(), False) as reads:
        line = Line(reads)
        line.read("a", waiting.read("old"), into(found))
        await asyncio.sleep(0)
        line.read("a", waiting.read("new"), into(found))
        waiting.gate.set()
        await settle(reads)
    assert (found, waiting.cancelled) == (["new"], ["old"])


async def test_a_line_that_closes_stops_all_its_reads() -> None:
    found: list[Any] = []
    waiting = Waiting()
    async with Reads(ReadLimits(running_max=1), False) as reads:
        line = Line(reads)
        for name in "ab":
            line.read(name, waiting.read(name), into(found))
        await asyncio.sleep(0)
        line.close()
        await settle(reads)
    assert (found, waiting.begun, waiting.cancelled) == ([], ["a"], ["a"])


async def test_what_still_runs_at_the_end_is_cancelled() -> None:
    found: list[Any] = []
    waiting = Waiting()
    async with Reads(ReadLimits(), False) as reads:
        Line(reads).read("a", waiting.read("a"), into(found))
        await asyncio.sleep(0)
    assert (found, waiting.cancelled) == ([], ["a"])


async def test_reads_of_a_client_that_does_not_read_wait_and_go_on_in_order() -> None:
    found: list[Any] = []
    async with Reads(ReadLimits(waiting_max=3), False) as reads:
        line = Line(reads)
        line.pause()
        for name in "abcd":
            line.read(name, at_once(name), into(found))
        line.cancel("b")
        assert found == ["RateLimited"]
        line.resume()
        line.read("e", at_once("e"), into(found))
    assert found == ["RateLimited", "a", "c", "e"]


async def test_a_client_that_falls_behind_again_gets_one_answer_at_a_time() -> None:
    found: list[Any] = []
    async with Reads(ReadLimits(), False) as reads:
        line = Line(reads)

        def told(result: Any) -> None:
            found.append(result)
            line.pause()

        line.pause()
        for name in "abc":
            line.read(name, at_once(name), told)
        line.resume()
        assert found == ["a"]
        line.resume()
        assert found == ["a", "b"]
        line.close()
        line.resume()
    assert found == ["a", "b"]


async def test_a_store_whose_reads_all_wait_gets_a_task_from_the_start() -> None:
    async def careful(value: str) -> str:
        async with asyncio.timeout(5):  # needs a task
            return value

    found: list[Any] = []
    async with Reads(ReadLimits(running_max=1), True) as reads:
        line = Line(reads)
        for name in "abc":
            line.read(name, careful(name), into(found))
        line.cancel("a")
        line.cancel("c")
        assert found == []
        await settle(reads)
    assert found == ["b"]


async def test_what_becomes_of_a_read_that_was_cancelled_before_its_next_step_is_no_news() -> None:
    loop = asyncio.get_running_loop()
    heard: list[Any] = []
    loop.set_exception_handler(lambda _, context: heard.append(context))
    found: list[Any] = []
    futures: list[asyncio.Future[str]] = [loop.create_future()]

    async def wait() -> str:
        return await futures[0]

    async with Reads(ReadLimits(), False) as reads:
        line = Line(reads)
        line.read("a", wait(), into(found))
        line.cancel("a")
        await settle(reads)
    futures.pop().set_exception(Invalid.at("x", "no"))
    await asyncio.sleep(0)
    gc.collect()
    loop.set_exception_handler(None)
    assert (heard, found) == ([], [])
