"""The web as an import reads it: no source leads us into our own network, or asks for too much."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web as served
from websockets.asyncio.server import ServerConnection, serve

from hanse.engines.web.reader import Bounds, Refused, Web, is_public
from hanse.errors import Invalid, NotFound, TooLarge, Unavailable
from hanse.keyring import new_secret
from hanse.operations.imports import a2a, sources
from hanse.protocol import jws, kinds, message
from hanse.protocol.address import encode_npub
from hanse.protocol.canonical import canonical
from hanse.protocol.event import sign_event

SECRET = new_secret()
Handler = Callable[[served.Request], Awaitable[served.StreamResponse]]


@asynccontextmanager
async def a_site(handler: Handler) -> AsyncIterator[str]:
    """A web server on loopback that answers everything with `handler`."""
    app = served.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = served.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = served.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


def quiet(stage: str, done: int, whole: int) -> None:
    """Reports to nobody."""


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "192.168.0.1",
        "172.16.5.5",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1%eth0",
        "fc00::1",
        "::ffff:10.0.0.1",
        "::127.0.0.1",
        "fec0::1",
        "64:ff9b::a00:1",
        "2002:a00:1::",
        "ff02::1",
        "nonsense",
    ],
)
def test_addresses_of_our_own_networks_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "2606:4700::1111"])
def test_addresses_of_the_open_internet_are(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "https://user:secret@example.com/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://10.0.0.1/x",
        "https://[::ffff:127.0.0.1]/",
        "https://127\u30020\u30020\u30021/",  # ideographic full stops: 127.0.0.1 when connected to
        "https://\u2460\u2461\u2466.\u24ea.\u24ea.\u2460/",  # circled digits: the same
        "https://\uff11\uff12\uff17.0.0.1/",
        "https://2130706433/",
        "https://0177.0.0.1/",
        "https://0x7f000001/",
        "https://127.1/",
        "http://localhost:1/",
        "https://169.254.169.254/latest/meta-data",
        "https://exa mple.com/",
        "https://example.com:port/",
        "//example.com",
        "https://example.com/" + "a" * 3000,
    ],
)
async def test_what_a_document_names_is_only_asked_for_on_the_open_internet(url: str) -> None:
    async with Web("https://registry.example.com/") as found:
        with pytest.raises(Refused):
            await found.json(url)


async def test_a_name_that_resolves_to_our_own_network_is_refused() -> None:
    async with Web("https://registry.example.com/") as found:
        for name in ("localhost.", "127.1", "0x7f000001"):
            with pytest.raises((Refused, Unavailable)):
                await found.json(f"https://{name}:1/")


async def test_a_redirect_leads_no_further_than_a_link_would() -> None:
    async def inside(request: served.Request) -> served.StreamResponse:
        return served.json_response({"secret": True})

    async with a_site(inside) as hidden:
        port = hidden.rpartition(":")[2]

        async def away(request: served.Request) -> served.StreamResponse:
            places = {
                "/other": f"http://localhost:{port}/",
                "/same": f"http://127.0.0.1:{port}/",
                "/private": "https://10.0.0.1/",
                "/plain": "http://example.com/",
                "/loop": "/loop",
                "/wide": f"https://\uff11\uff12\uff17.0.0.1:{port}/",
            }
            if request.path == "/fine":
                return served.json_response({"fine": True})
            if request.path == "/near":
                raise served.HTTPFound("/fine")
            raise served.HTTPFound(places[request.path])

        async with a_site(away) as start, Web(start) as found:
            assert await found.json(f"{start}/near") == {"fine": True}
            for path in ("/other", "/same", "/private", "/plain", "/wide"):
                with pytest.raises(Refused):
                    await found.json(start + path)
            with pytest.raises(Unavailable, match="redirects"):
                await found.json(f"{start}/loop")


async def test_sizes_times_and_numbers_end() -> None:
    async def answer(request: served.Request) -> served.StreamResponse:
        if request.path == "/large":
            response = served.StreamResponse()
            await response.prepare(request)
            for _ in range(100):
                await response.write(b" " * 65536)
            return response
        if request.path == "/slow":
            await asyncio.Event().wait()
        if request.path == "/deep":
            return served.Response(text="[" * 500 + "]" * 500)
        if request.path == "/text":
            return served.Response(text="<html>")
        raise served.HTTPNotFound

    bounds = Bounds(requests=6, document_bytes=1 << 20, request_s=0.3)
    async with a_site(answer) as start, Web(start, bounds) as found:
        for path, error in (
            ("/large", TooLarge),
            ("/slow", Unavailable),
            ("/deep", TooLarge),
            ("/text", Invalid),
            ("/gone", NotFound),
        ):
            with pytest.raises(error):
                await found.json(start + path)
        with pytest.raises(NotFound):
            await found.json(f"{start}/sixth")
        with pytest.raises(Unavailable, match="enough"):
            await found.json(f"{start}/seventh")


def a_registry(pages: int, *, versions: bool = False) -> Handler:
    """An MCP registry of two servers a page, whose cursors are page numbers."""

    async def answer(request: served.Request) -> served.StreamResponse:
        if request.path != "/v0.1/servers":
            raise served.HTTPNotFound
        page = int(request.query.get("cursor", "0"))
        rows = [
            {
                "server": {
                    "name": f"com.example/s{page}-{number}",
                    "description": "d",
                    "version": "1.0.0",
                    "remotes": [{"type": "sse", "url": "https://s.example.com"}],
                },
                "_meta": {},
            }
            for number in range(2)
        ]
        following = {"nextCursor": str(page + 1)} if page + 1 < pages else {}
        return served.json_response({"servers": rows, "metadata": following | {"count": 2}})

    return answer


async def test_a_registry_is_read_to_its_end_by_its_cursors() -> None:
    async with a_site(a_registry(5)) as start, Web(start) as found:
        source, reading = await sources.of_url(start, "mcp", found, quiet, 1000)
    assert source.url == f"{start}/v0.1/servers"
    assert len(reading.listings) == 10
    assert reading.whole


async def test_a_host_is_asked_for_what_it_publishes_and_a_limit_ends_the_reading() -> None:
    async with a_site(a_registry(50)) as start, Web(start) as found:
        source, reading = await sources.of_url(start, None, found, quiet, 7)
    assert (source.kind, len(reading.listings), reading.whole) == ("mcp", 7, False)


async def test_a_registry_whose_cursor_never_ends_is_left() -> None:
    async def answer(request: served.Request) -> served.StreamResponse:
        return served.json_response({"servers": [], "metadata": {"nextCursor": "again"}})

    async with a_site(answer) as start, Web(start) as found:
        _, reading = await sources.of_url(f"{start}/v0/servers", None, found, quiet, 100)
    assert reading.listings == []


async def test_a_bazaar_is_read_to_its_end_by_its_offsets() -> None:
    async def answer(request: served.Request) -> served.StreamResponse:
        if "discovery" not in request.path:
            raise served.HTTPNotFound
        start, most = int(request.query["offset"]), int(request.query["limit"])
        accepts: list[dict[str, Any]] = [{"scheme": "exact", "network": "base", "payTo": "0x"}]
        items = [
            {"resource": f"https://x.example/{n}", "type": "http", "accepts": accepts}
            for n in range(start, min(start + most, 230))
        ]
        page = {"limit": most, "offset": start, "total": 230}
        return served.json_response({"x402Version": 2, "items": items, "pagination": page})

    async with a_site(answer) as start, Web(start) as found:
        url = f"{start}/discovery/resources"
        _, reading = await sources.of_url(url, "x402", found, quiet, 1000)
    assert (len(reading.listings), reading.whole) == (230, True)


async def test_a_host_that_names_its_key_proves_what_it_lists_of_its_own() -> None:
    key = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"

    async def answer(request: served.Request) -> served.StreamResponse:
        if request.path == "/.well-known/nostr.json":
            return served.json_response({"names": {"_": key}})
        rows = [
            {"name": "a/own", "remotes": [{"url": f"http://{request.host}/mcp"}]},
            {"name": "a/other", "remotes": [{"url": "https://elsewhere.example/mcp"}]},
        ]
        return served.json_response({"servers": rows})

    async with a_site(answer) as start, Web(start) as found:
        _, reading = await sources.of_url(f"{start}/v0/servers", None, found, quiet, 10)
    own, other = reading.listings
    assert own.verified.startswith(f"domain {start.removeprefix('http://')} npub1")
    assert other.verified == ""


@asynccontextmanager
async def a_names_list_elsewhere(status: int) -> AsyncIterator[tuple[str, str]]:
    """A host that answers everything but one registry by a redirect to another, and that other,
    which names SECRET's key."""

    async def names(request: served.Request) -> served.StreamResponse:
        return served.json_response({"names": {"_": SECRET.public}})

    async with a_site(names) as other:

        async def answer(request: served.Request) -> served.StreamResponse:
            if request.path == "/v0/servers":
                rows = [{"name": "a/own", "remotes": [{"url": f"http://{request.host}/mcp"}]}]
                return served.json_response({"servers": rows})
            return served.Response(status=status, headers={"Location": f"{other}{request.path_qs}"})

        async with a_site(answer) as start:
            yield start, other


REDIRECTING = pytest.mark.parametrize("status", [301, 302, 307, 308])


@REDIRECTING
@pytest.mark.requirement("NIP-05.followed-nowhere")
async def test_names_that_a_host_leaves_to_another_prove_nothing_of_what_it_lists(
    status: int,
) -> None:
    async with a_names_list_elsewhere(status) as (start, other), Web([start, other]) as found:
        _, reading = await sources.of_url(f"{start}/v0/servers", None, found, quiet, 10)
        # Any other document is read where its host says that it is.
        assert await found.json(f"{start}/names.json") == {"names": {"_": SECRET.public}}
    (own,) = reading.listings
    assert own.verified == ""


@REDIRECTING
@pytest.mark.requirement("NIP-05.followed-nowhere")
async def test_names_that_an_agents_host_leaves_to_another_prove_no_card(status: int) -> None:
    npub = encode_npub(SECRET.public)
    async with a_names_list_elsewhere(status) as (start, other), Web([start, other]) as found:
        verified = {}
        for home in (start, other):
            # A key set under the names' own address must not bring them in by another way.
            header = {"alg": "ES256K", "kid": npub, "jku": f"{home}/.well-known/nostr.json?name=_"}
            card: dict[str, Any] = {"name": "Pilot", "url": f"{home}/a2a", "skills": [{"id": "a"}]}
            protected = jws.encode(json.dumps(header).encode())
            signature = jws.sign(SECRET, protected, canonical(card, "card"))
            card["signatures"] = [{"protected": protected, "signature": signature}]
            (listing,) = (await a2a.read(card, fetch=found.json)).listings
            verified[home] = listing.verified
    assert verified == {start: "", other: f"signature {npub} at 127.0.0.1"}


async def test_an_api_described_in_yaml_is_read_from_its_url() -> None:
    text = "openapi: 3.1.0\ninfo: {title: Tides, version: 1.0.0}\npaths:\n  /now: {get: {}}\n"

    async def answer(request: served.Request) -> served.StreamResponse:
        if request.path != "/api.yaml":
            raise served.HTTPNotFound
        return served.Response(text=text, content_type="application/yaml")

    async with a_site(answer) as start, Web(start) as found:
        source, reading = await sources.of_url(f"{start}/api.yaml", None, found, quiet, 10)
    assert (source.kind, [one.name for one in reading.listings]) == ("openapi", ["Tides"])


async def test_pages_that_were_read_are_taken_when_the_next_cannot_be_had() -> None:
    whole = a_registry(50)

    async def answer(request: served.Request) -> served.StreamResponse:
        if request.query.get("cursor") == "3":
            raise served.HTTPServiceUnavailable
        return await whole(request)

    async with a_site(answer) as start, Web(start) as found:
        _, reading = await sources.of_url(start, "mcp", found, quiet, 1000)
        with pytest.raises(Unavailable):
            await sources.of_url(f"{start}/v0/servers?cursor=3", "mcp", found, quiet, 1000)
    assert (len(reading.listings), reading.whole) == (6, False)
    ((_, why),) = reading.refused
    assert "answered 503: the pages before it were read" in why


@asynccontextmanager
async def a_slow_relay(pages: int) -> AsyncIterator[str]:
    """It answers so many requests with two announcements each, and then is silent."""
    left = pages

    async def answer(client: ServerConnection) -> None:
        nonlocal left
        async for text in client:
            verb, *rest = json.loads(text)
            if verb != "REQ" or not left:
                continue
            left -= 1
            for number in range(2):
                event = sign_event(
                    new_secret(),
                    kind=kinds.TOOLS_ANNOUNCEMENT,
                    created_at=1_700_000_000 + 10 * left + number,
                    content=json.dumps({"tools": [{"name": f"tool_{number}"}]}),
                )
                told = json.loads(message.publish(event))[1]
                await client.send(json.dumps(["EVENT", rest[0], told]))
            await client.send(json.dumps(["EOSE", rest[0]]))

    async with serve(answer, "127.0.0.1", 0) as server:
        yield f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"


async def test_a_relay_that_takes_too_long_is_left_with_what_it_told() -> None:
    began = time.monotonic()
    async with a_slow_relay(2) as url:
        source, reading = await sources.of_relay(url, quiet, 100, lambda: int(time.time()), 1.5)
    assert time.monotonic() - began < 10
    assert (source.kind, len(reading.listings), reading.whole) == ("nostr", 4, False)
    assert "was not done within 1.5 s: its newest 4 events were read" in reading.refused[-1][1]


async def test_a_relay_that_tells_nothing_in_time_is_said_to() -> None:
    async with a_slow_relay(0) as url:
        with pytest.raises(Unavailable, match="within 1 s; nothing was read"):
            await sources.of_relay(url, quiet, 100, lambda: int(time.time()), 1.0)
