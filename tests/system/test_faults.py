"""What clients, disks and clocks do that they should not: bounded, answered, and nothing lost."""

import asyncio
import contextlib
import json
import resource
import signal
import sys
from pathlib import Path

import aiohttp
import pytest
from tests.conftest import running_node
from tests.relay_peer import WAIT_S, Peer, a_peer, now
from tests.system.test_drain import stored
from tests.system.test_kill import lives, settings_for
from websockets.asyncio.client import connect

from hanse.keyring import new_secret
from hanse.node import Node
from hanse.protocol import message
from hanse.protocol.event import Event, encode_event
from hanse.protocol.keys import SecretKey
from hanse.servers.relay.relay import SocketLimits

# --- one event, many spellings ------------------------------------------------------------------


def respelled(event: Event) -> dict[str, tuple[str, bool]]:
    """Other JSON for the same event, and whether it is that event still."""
    parts = {key: json.dumps(value) for key, value in json.loads(encode_event(event)).items()}

    def written(**changes: str) -> str:
        return "{" + ",".join(f'"{key}":{value}' for key, value in (parts | changes).items()) + "}"

    backwards = ",".join(f'"{key}":{value}' for key, value in reversed(parts.items()))
    return {
        "fields in another order": ("{" + backwards + "}", True),
        "with spaces": (written().replace(",", " ,\n\t"), True),
        "an escaped field name": (written().replace('"content"', r'"c\u006fntent"'), True),
        "an escaped value": (written(content=r'"\u0061"'), True),
        "a field twice, the last one right": ('{"content":"b",' + written()[1:], True),
        "a field twice, the last one wrong": (written()[:-1] + ',"content":"b"}', False),
        "an exponent": (written(created_at=f"{event.created_at}e0"), False),
        "a fraction": (written(created_at=f"{event.created_at}.0"), False),
        "a kind as a fraction": (written(kind="1.0"), False),
        "minus zero": (written(kind="-0"), False),
        "a leading zero": (written(kind="01"), False),
        "a number in quotes": (written(kind='"1"'), False),
        "true for one": (written(kind="true"), False),
        "an upper-case id": (written(id=parts["id"].upper()), False),
        "an upper-case pubkey": (written(pubkey=parts["pubkey"].upper()), False),
        "an upper-case signature": (written(sig=parts["sig"].upper()), False),
        "a space in the signature": (written(sig=parts["sig"][:-1] + ' "'), False),
        "a longer signature": (written(sig=parts["sig"][:-1] + '00"'), False),
        "another scalar, mirrored": (written(sig=f'"{mirrored(event.sig)}"'), False),
        "half a surrogate pair": (written(content=r'"\ud800"'), False),
        "NUL for nothing": (written(content=r'"a\u0000"'), False),
        "tags as an object": (written(tags="{}"), False),
        "a tag with a number": (written(tags='[["t",1]]'), False),
        "null for a tag": (written(tags="[null]"), False),
    }


def mirrored(sig: str) -> str:
    """The same point with the scalar's negative: good in ECDSA, not here."""
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    return sig[:64] + f"{order - int(sig[64:], 16):064x}"


async def test_an_event_in_another_spelling_is_the_same_event_or_none(node: Node) -> None:
    async with a_peer(node.url) as peer:
        event = await peer.keep(peer.note("a"))
        wrong = []
        for name, (text, same) in respelled(event).items():
            await peer.socket.send(f'["EVENT",{text}]')
            heard = await peer.hear()
            accepted = heard[0] == "OK" and heard[2]
            said = "duplicate: " if same else "invalid: "
            if accepted != same or not heard[-1].startswith(said):
                wrong.append((name, heard))
        assert wrong == []
        assert await node.log.total() == 1
        await peer.say("REQ", "q", {"ids": [event.id]})
        assert (await peer.hear())[2] == json.loads(encode_event(event))


@pytest.mark.requirement("NIP-01.ok-always")
async def test_an_event_that_cannot_be_read_is_answered_by_its_id_if_it_has_one(
    node: Node,
) -> None:
    async with a_peer(node.url) as peer:
        event = peer.note()
        text = encode_event(event).decode().replace('"kind":1', '"kind":"x"')
        await peer.socket.send(f'["EVENT",{text}]')
        verb, id, accepted, reason = await peer.hear()
        assert (verb, id, accepted) == ("OK", event.id, False)
        assert reason.startswith("invalid: event.kind: ")


# --- too much -------------------------------------------------------------------------------------


@pytest.mark.requirement("NIP-01.ok-duplicate")
async def test_an_event_from_a_hundred_connections_is_kept_once_and_each_is_told(
    node: Node,
) -> None:
    async with a_peer(node.url) as reader:
        await reader.ask()
        event = reader.note("everywhere")
        sockets = await asyncio.gather(*(connect(node.url) for _ in range(100)))
        try:
            peers = [Peer(socket, node.url, new_secret()) for socket in sockets]
            await asyncio.gather(*(peer.hear() for peer in peers))
            told = await asyncio.gather(*(peer.publish(event) for peer in peers))
        finally:
            await asyncio.gather(*(socket.close() for socket in sockets))
        assert all(accepted for accepted, _ in told)
        assert [text for _, text in told].count("") == 1
        assert (await reader.hear())[2]["id"] == event.id
        await reader.nothing_more()
    assert await node.log.total() == 1


async def test_a_million_tags_are_refused_whether_they_fit_a_message_or_not(node: Node) -> None:
    async with a_peer(node.url) as peer, a_peer(node.url) as other:
        bare = encode_event(peer.note()).decode()
        fits = bare.replace('"tags":[]', '"tags":[' + ",".join(["[]"] * 150_000) + "]")
        await peer.socket.send(f'["EVENT",{fits}]')
        heard = await peer.hear()
        assert heard[-1].startswith("invalid: event.tags: ")
        many = bare.replace('"tags":[]', '"tags":[' + ",".join(["[]"] * 1_000_000) + "]")
        await peer.socket.send(f'["EVENT",{many}]')
        assert await peer.close_code() == 1009
        await other.keep(other.note())


async def test_a_request_that_never_ends_is_cut_off_and_others_are_served(
    tmp_path: Path, operator: SecretKey
) -> None:
    limits = SocketLimits(request_s=0.3)
    async with running_node(tmp_path, operator, socket_limits=limits) as node:
        port = int(node.url.rpartition(":")[2])
        streams = [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]
        heads = (b"GET / HTTP/1.1\r\nHost: x\r\n", b"POST /events HTTP/1.1\r\nHost: x\r\n", b"")
        for number, (_, writer) in enumerate(streams):
            writer.write(heads[number % len(heads)])
        async with a_peer(node.url) as peer:
            await peer.keep(peer.note())
            async with asyncio.timeout(WAIT_S):
                for reader, writer in streams:
                    # However it is cut off, nothing but an end comes.
                    with contextlib.suppress(ConnectionError):
                        assert await reader.read() == b""
                    writer.close()
            await peer.keep(peer.note("after"))


# --- clocks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("skew_s", [-3600, -601, 601, 3600])
async def test_a_client_whose_clock_is_off_hears_which_field_says_so(
    node: Node, skew_s: int
) -> None:
    async with a_peer(node.url) as peer:
        accepted, text = await peer.prove(created_at=now() + skew_s)
        assert not accepted
        assert text.startswith("invalid: event.created_at: ")
        accepted, text = await peer.publish(peer.note("", 20001, created_at=now() + skew_s))
        assert not accepted
        assert text.startswith("invalid: event.created_at: ")
        # What is kept may be old: it may have been written long ago.
        accepted, _ = await peer.publish(peer.note(created_at=now() - abs(skew_s)))
        assert accepted


# --- a disk that is really full -----------------------------------------------------------------


@pytest.mark.heavy
@pytest.mark.skipif(sys.platform != "linux", reason="prlimit(2) is Linux's")
async def test_the_kernel_refuses_to_write_and_the_relay_reads_on_until_it_may_again(
    tmp_path: Path,
) -> None:
    async with lives(settings_for(tmp_path, []), tmp_path) as node:
        await node.start()
        async with a_peer(node.url) as peer:
            before = [await peer.keep(peer.note(f"before {n}")) for n in range(5)]
            size = max(path.stat().st_size for path in node.path.parent.iterdir())
            no_limit = resource.prlimit(node.pid, resource.RLIMIT_FSIZE)
            # No file may grow from here on: writing beyond is EFBIG, as ENOSPC is on a full disk.
            resource.prlimit(node.pid, resource.RLIMIT_FSIZE, (size, no_limit[1]))
            kept, refusal = await filled(peer)
            assert refusal.startswith("error: the database refused to write")
            again, text = await peer.publish(peer.note("x" * 100_000))
            assert (again, text.partition(":")[0]) == (False, "error")
            wanted = {event.id for event in (*before, *kept)}
            assert set(await peer.ask({"authors": [peer.secret.public]})) == wanted
            await peer.say("CLOSE", "q")
            await peer.say("COUNT", "c", {"authors": [peer.secret.public]})
            assert (await peer.hear())[2]["count"] == len(wanted)
            async with (
                aiohttp.ClientSession() as http,
                http.get(node.url.replace("ws:", "http:")) as answer,
            ):
                assert answer.status == 200
            resource.prlimit(node.pid, resource.RLIMIT_FSIZE, no_limit)
            after = await peer.keep(peer.note("x" * 100_000, created_at=now() - 1))
            assert await peer.ask({"ids": [after.id]}) == [after.id]
        await node.end(signal.SIGTERM)
        assert stored(node.path) == wanted | {after.id}


async def filled(peer: Peer) -> tuple[list[Event], str]:
    """Publish until the relay refuses: what it kept, and why it did not keep more."""
    kept: list[Event] = []
    while True:
        event = peer.note(new_secret().public * 500)
        await peer.socket.send(message.publish(event).decode())
        _, id, accepted, text = await peer.hear()
        assert id == event.id
        if not accepted:
            return kept, str(text)
        kept.append(event)
        assert len(kept) < 1000
