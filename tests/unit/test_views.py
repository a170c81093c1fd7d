"""When views of the log are brought forward."""

import asyncio
from types import SimpleNamespace

import pytest
from tests.conformance.events import an_event

from hanse import views
from hanse.protocol import kinds
from hanse.protocol.event import Event
from hanse.views import Follower


class Seen:
    """A view that counts its passes: profiles may wait, offers may not, notes are nothing to it."""

    def __init__(self, wait_s: float) -> None:
        self.wait_s = wait_s
        self.passes = 0

    def due_s(self, event: Event) -> float | None:
        return {kinds.PROFILE: self.wait_s, kinds.OFFER: 0.0}.get(event.kind)

    async def advance(self) -> None:
        self.passes += 1


async def told(follower: Follower, *wanted: int) -> None:
    for kind in wanted:
        follower.saw(1, an_event(kind=kind))
        for _ in range(5):
            await asyncio.sleep(0)


async def test_what_may_wait_costs_no_pass_until_it_is_due_and_what_may_not_comes_at_once() -> None:
    view = Seen(wait_s=60)
    follower = Follower([view])
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(follower.run())
        await told(follower, kinds.NOTE)
        assert (view.passes, follower.behind_s()) == (0, 0.0)
        await told(follower, kinds.PROFILE)
        assert (view.passes, follower.behind_s()) == (1, 0.0)  # nothing was done before
        await told(follower, *[kinds.PROFILE] * 10)
        assert view.passes == 1
        assert follower.behind_s() > 0.0
        await told(follower, kinds.OFFER)
        assert (view.passes, follower.behind_s()) == (2, 0.0)
        running.cancel()


async def test_what_may_wait_comes_when_it_is_due() -> None:
    view = Seen(wait_s=0.01)
    follower = Follower([view])
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(follower.run())
        await told(follower, kinds.PROFILE, kinds.PROFILE)
        async with asyncio.timeout(10):
            while view.passes < 2:
                await asyncio.sleep(0.01)
        running.cancel()


async def test_how_far_behind_it_is_counts_from_what_the_last_pass_has_not_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [100.0]
    monkeypatch.setattr(views, "time", SimpleNamespace(monotonic=lambda: clock[-1]))
    view = Seen(wait_s=60)
    follower = Follower([view])

    async def slow() -> None:
        clock.append(clock[-1] + 5.0)
        assert follower.behind_s() == 8.0  # what takes long is not up to date meanwhile
        follower.saw(2, an_event(kind=kinds.PROFILE))

    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(follower.run())
        await told(follower, kinds.OFFER, kinds.PROFILE)
        clock.append(103.0)
        assert follower.behind_s() == 3.0
        monkeypatch.setattr(view, "advance", slow)
        await told(follower, kinds.OFFER)
        clock.append(109.0)
        assert follower.behind_s() == 1.0
        running.cancel()
