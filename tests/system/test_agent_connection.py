"""An agent's connection goes on after whatever ends a link, and its closing has an end."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.fakes.moody_relay import Mood, MoodyRelay, moody_relay
from tests.servers import eventually

from hanse.agent import connection, link
from hanse.agent.connection import Connection, node_key
from hanse.agent.link import now_s
from hanse.errors import HanseError, Unavailable
from hanse.keyring import new_secret
from hanse.protocol import kinds
from hanse.protocol.event import Event, sign_event

NODE = new_secret()
PATIENCE_S = 20.0


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is waited for ten seconds and more in earnest."""
    monkeypatch.setattr(link, "OPEN_S", 1.0)
    monkeypatch.setattr(link, "IDLE_S", 0.3)
    monkeypatch.setattr(link, "PONG_S", 0.3)
    monkeypatch.setattr(link, "FLUSH_S", 0.3)
    monkeypatch.setattr(connection, "DRAIN_S", 0.3)


def to(relay: MoodyRelay) -> Connection:
    return Connection(relay.url, new_secret(), (), NODE.public)


@asynccontextmanager
async def connected(relay: MoodyRelay) -> AsyncIterator[Connection]:
    """Its closing must end, too."""
    found = to(relay)
    async with asyncio.timeout(PATIENCE_S):
        await found.__aenter__()
    try:
        yield found
    finally:
        async with asyncio.timeout(PATIENCE_S):
            await found.__aexit__()


async def goes_through(found: Connection) -> bool:
    """Whether an event reaches the relay now."""
    try:
        event = sign_event(new_secret(), kind=kinds.NOTE, created_at=now_s(), content="x")
        await found.publish(event)
    except Unavailable:
        return False
    return True


LASTING = [
    Mood.ENDS_INBOX,
    Mood.CLOSES,
    Mood.ENDLESS_FRAGMENTS,
    Mood.EMPTY_FRAGMENTS,
    Mood.IS_DEAD,
]
FAILING = [
    Mood.HANGS_UP,
    Mood.SAYS_NOTHING,
    Mood.REFUSES_UPGRADE,
    Mood.SENDS_ELSEWHERE,
    Mood.REFUSES_PROOF,
    Mood.NO_INBOX,
]


@pytest.mark.parametrize("mood", LASTING)
async def test_what_ends_a_link_is_followed_by_another(mood: Mood) -> None:
    async with moody_relay(mood) as relay, connected(relay) as found:
        await eventually(lambda: relay.reached == 2)
        await eventually(lambda: goes_through(found))
        if mood is not Mood.IS_DEAD:  # that one holds its side for good
            await eventually(lambda: len(relay.open) == 1)


@pytest.mark.parametrize("mood", FAILING)
async def test_a_link_that_never_listens_is_followed_by_another(mood: Mood) -> None:
    async with moody_relay(Mood.CLOSES, mood, mood) as relay, connected(relay) as found:
        await eventually(lambda: relay.reached == 4)
        await eventually(lambda: goes_through(found))
        await eventually(lambda: len(relay.open) == 1)


@pytest.mark.parametrize(
    ("mood", "words"),
    [
        (Mood.HANGS_UP, "hung up during the handshake"),
        (Mood.SAYS_NOTHING, "no inbox after"),
        (Mood.REFUSES_UPGRADE, "refused the connection"),
        (Mood.SENDS_ELSEWHERE, "refused the connection"),
        (Mood.REFUSES_PROOF, "restricted: not you"),
        (Mood.NO_INBOX, "no inbox after"),
    ],
)
async def test_who_cannot_begin_hears_why_and_leaves_nothing_open(mood: Mood, words: str) -> None:
    async with moody_relay(mood) as relay:
        with pytest.raises(Unavailable, match=words):
            async with asyncio.timeout(PATIENCE_S):
                await to(relay).__aenter__()
        await eventually(lambda: not relay.open)
        assert relay.reached == 1


@pytest.mark.parametrize("mood", [Mood.SAYS_NOTHING, Mood.NO_INBOX])
async def test_who_gives_up_beginning_leaves_nothing_open(mood: Mood) -> None:
    async with moody_relay(mood) as relay:
        beginning = asyncio.gather(to(relay).__aenter__())
        await eventually(lambda: relay.reached == 1)
        beginning.cancel()
        with pytest.raises(asyncio.CancelledError):
            await beginning
        await eventually(lambda: not relay.open)


@pytest.mark.parametrize("mood", [*FAILING, Mood.IS_DEAD])
async def test_closing_ends_wherever_the_connection_is_in_its_life(mood: Mood) -> None:
    async with moody_relay(Mood.CLOSES, *[mood] * 50) as relay:
        async with connected(relay):
            await eventually(lambda: relay.reached >= 2)
            began = time.monotonic()
        assert time.monotonic() - began < 5
        if mood is not Mood.IS_DEAD:
            await eventually(lambda: not relay.open)


async def test_what_waits_for_an_answer_hears_that_the_connection_was_closed() -> None:
    async with moody_relay(*[Mood.WELL]) as relay:
        async with connected(relay) as found:
            asking = asyncio.gather(found.request("ping", {}, 60), return_exceptions=True)
            await eventually(lambda: any(said[0] == "EVENT" for said in relay.heard))
        assert isinstance((await asking)[0], Unavailable)
        with pytest.raises(Unavailable):
            await found.publish(sign_event(NODE, kind=kinds.NOTE, created_at=now_s()))


async def test_what_waits_for_a_connection_hears_at_once_that_it_was_closed() -> None:
    async with moody_relay(Mood.CLOSES, *[Mood.NO_INBOX] * 50) as relay:
        async with connected(relay) as found:
            await eventually(lambda: relay.reached == 2)
            asking = asyncio.gather(found.request("ping", {}, 60), return_exceptions=True)
        async with asyncio.timeout(0.5):
            assert isinstance((await asking)[0], Unavailable)


async def test_a_service_that_will_not_end_does_not_keep_the_connection_from_closing() -> None:
    begun, enough = asyncio.Event(), asyncio.Event()

    async def stubborn(_: Event) -> None:
        begun.set()
        while not enough.is_set():
            try:
                await enough.wait()
            except asyncio.CancelledError:
                continue

    async with moody_relay() as relay:
        async with connected(relay) as found:
            found.on_request(stubborn)
            me = found._secret.public
            request = sign_event(NODE, kind=kinds.RPC, created_at=now_s(), tags=(("p", me),))
            found._event(request)
            await begun.wait()
        assert not relay.open
        enough.set()


async def test_a_handler_that_fails_costs_its_request_only() -> None:
    async def failing(_: Event) -> None:
        raise ZeroDivisionError

    async with moody_relay() as relay, connected(relay) as found:
        found.on_request(failing)
        me = found._secret.public
        found._event(sign_event(NODE, kind=kinds.RPC, created_at=now_s(), tags=(("p", me),)))
        await eventually(lambda: not found._handling)
        assert await goes_through(found)
        assert relay.reached == 1


async def test_a_node_s_key_is_not_taken_from_another_place() -> None:
    async with moody_relay(Mood.SENDS_ELSEWHERE) as relay:
        with pytest.raises(HanseError, match="sends us elsewhere"):
            await asyncio.to_thread(node_key, relay.url)
        assert relay.reached == 1
