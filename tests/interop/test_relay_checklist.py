"""What published relay test suites look at, as far as it is about us, in our words and over a
real socket: mikedilger/relay-tester's items, nostream's scenarios, strfry's write and read tests.
What is kept and what goes is in test_relay_stories.py.

What we do differently on purpose is in DEVIATIONS, with the reason, and tested as we do it.
"""

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import msgspec
import pytest
from tests.conftest import running_node
from tests.relay_peer import Peer, a_peer, now

from hanse.keyring import new_secret
from hanse.node import Node
from hanse.protocol import kinds
from hanse.protocol.encryption import conversation_key, encrypt
from hanse.protocol.event import digest_of, encode_event, sign_event
from hanse.protocol.keys import SecretKey

DEVIATIONS = {
    "closes a subscription that can get no more after EOSE": (
        "An id that is asked for may still arrive: it stays open until the client closes it."
    ),
    "takes ephemeral events that nobody listens to": (
        "An OK would say that somebody may get it: `mute:` says that nobody does."
    ),
    "takes raw control characters in a JSON string": "That is no JSON (RFC 8259 7).",
    "takes events of before 1970, or of far beyond now": (
        "NIP-01 has Unix seconds; NIP-11 says how far ahead is too far."
    ),
    "deletes reactions to a deleted event": "NIP-09: one deletes one's own events only.",
    "serves replaced versions by id": "NIP-01: only the latest is to be kept.",
    "wants authentication for NIP-04 messages": "NIP-04 wants none; gift wraps have it.",
    "keeps the order of a JSON object's fields, or fields of nobody's standard": (
        "An event is its seven fields: served in the order of NIP-01."
    ),
    "matches prefixes of ids and authors": "Gone from NIP-01: exactly 64 hex characters.",
    "takes kinds above 65535, in filters too": "NIP-01: 0 to 65535.",
    "serves gift wraps to whoever asks": "NIP-59: to their recipient, who has proved to be that.",
    "checks the digest of an OpenTimestamps attestation": "Opaque to a relay; clients verify it.",
    "asks for work in the public key": "Not in any NIP.",
    "monitors other relays and keeps probe results": "A monitor's task (NIP-66), not a relay's.",
}


@pytest.fixture(scope="module")
async def node(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    """One node for all: each item has keys of its own."""
    async with running_node(tmp_path_factory.mktemp("checklist"), new_secret()) as found:
        yield found


class Checks:
    """Sentences, each of which has to hold; all are looked at before the test fails."""

    def __init__(self) -> None:
        self.broken: list[str] = []

    def __call__(self, sentence: str, holds: object) -> None:
        if not holds:
            self.broken.append(sentence)

    def __enter__(self) -> "Checks":
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        if kind is None:
            assert self.broken == []


# --- how events are written -----------------------------------------------------------------------


def raw_event(secret: SecretKey, content: str, written: str, created_at: str = "") -> str:
    """An EVENT with its content and time pasted as `written`, signed over what they mean."""
    at = created_at or str(now())
    time = int(float(at))
    digest = digest_of(secret.public, time, 1, (), content)
    return (
        f'["EVENT",{{"id":"{digest.hex()}","pubkey":"{secret.public}","created_at":{at},"kind":1,'
        f'"tags":[],"content":"{written}","sig":"{secret.sign(digest)}"}}]'
    )


async def told(peer: Peer, text: str) -> list[Any]:
    await peer.socket.send(text)
    return await peer.hear()


@pytest.mark.requirement("NIP-01.escapes")
async def test_text_in_every_spelling(node: Node) -> None:
    listed = r"\n\"\\\r\t\b\f"
    unlisted = "".join(f"\\u{code:04x}" for code in (0, 1, 7, 11, 14, 31, 0x7F)) + "\\/"
    nonsense = b"\xef\xb7\x91\xf4\x8f\xbf\xb2".decode()
    with Checks() as check:
        async with a_peer(node.url) as peer:
            for sentence, written in {
                "takes NIP-01's escapes": listed,
                "takes escapes that NIP-01 does not list": unlisted,
                "takes what Unicode calls non-characters": nonsense,
                "takes surrogate pairs": r"\ud83e\udd80",
                "takes DEL as it is": "\x7f",
            }.items():
                content = json.loads(f'"{written}"')
                heard = await told(peer, raw_event(peer.secret, content, written))
                check(sentence, heard[0] == "OK" and heard[2])
                found = await peer.ask({"ids": [heard[1]]})
                check(f"{sentence} and serves it", found == [heard[1]])
            for sentence, written in {
                "refuses raw control characters": "a\nb",
                "refuses half a surrogate pair": r"\ud83e",
                "refuses an escape that is none": r"\x41",
            }.items():
                heard = await told(peer, raw_event(peer.secret, "x", written))
                check(sentence, heard[-1].startswith("invalid: ") and heard[2:3] != [True])


TIMES = {
    "takes an event of a week ago": (-7 * 86400, True),
    "takes an event of a month ago": (-30 * 86400, True),
    "takes an event of a year ago": (-365 * 86400, True),
    "refuses an event of next year": (365 * 86400, False),
    "takes an event of a minute from now": (60, True),
}
MOMENTS = {
    "takes an event from before Nostr": ("1500000000", True),
    "takes an event from before 2000": ("900000000", True),
    "takes an event of 1970": ("1", True),
    "takes an event of the first second": ("0", True),
    "refuses an event from before 1970": ("-1", False),
    "refuses a time beyond 31 bits that is in the future": ("2147483649", False),
    "refuses a time beyond 32 bits": ("4294967297", False),
    "refuses a time beyond 53 bits": ("9007199254740993", False),
    "refuses a time that is no whole number": ("1.5", False),
}


@pytest.mark.requirement("NIP-01.created-at")
async def test_times(node: Node) -> None:
    with Checks() as check:
        async with a_peer(node.url) as peer:
            for sentence, (ahead, wanted) in TIMES.items():
                accepted, _ = await peer.publish(peer.note(created_at=now() + ahead))
                check(sentence, accepted == wanted)
            for sentence, (written, wanted) in MOMENTS.items():
                heard = await told(peer, raw_event(peer.secret, written, written, written))
                check(sentence, (heard[0] == "OK" and heard[2]) == wanted)


async def test_events_that_are_not_what_they_say(node: Node) -> None:
    with Checks() as check:
        async with a_peer(node.url) as peer:
            good = peer.note("x", tags=[["t", "a"]])
            other = msgspec.structs.replace(good, sig=peer.note("y").sig)
            for sentence, event in {
                "refuses another's signature": other,
                "refuses another id": msgspec.structs.replace(good, id="0" * 64),
            }.items():
                accepted, text = await peer.publish(event)
                check(sentence, not accepted and text.startswith("invalid: "))
            check("answers a good event with OK", await peer.publish(good) == (True, ""))
            check("takes an event with empty tags", (await peer.publish(peer.note(tags=[[]])))[0])
            many = [["p", new_secret().public] for _ in range(1500)]
            check("takes a long follow list", (await peer.publish(peer.note("", 3, tags=many)))[0])
            large = json.loads(encode_event(peer.note())) | {"kind": 65536}
            heard = await told(peer, json.dumps(["EVENT", large]))
            check("refuses a kind beyond 16 bits", "event.kind" in heard[-1])
            more = {"extra": 1} | json.loads(encode_event(peer.note("more")))
            heard = await told(peer, json.dumps(["EVENT", more]))
            check("takes an event with a field of its own", heard[2])
            await peer.say("REQ", "one", {"ids": [more["id"]]})
            served = (await peer.hear())[2]
            check("serves the seven fields in NIP-01's order", list(served) == list(FIELDS))


FIELDS = ("id", "pubkey", "created_at", "kind", "tags", "content", "sig")


# --- asking ---------------------------------------------------------------------------------------


async def test_finding(node: Node) -> None:
    with Checks() as check:
        async with a_peer(node.url) as peer, a_peer(node.url) as other:
            own, mark = peer.secret.public, new_secret().public[:12]
            notes = [
                await peer.keep(
                    peer.note(f"{n}", created_at=now() - n, tags=[["t", mark], ["r", f"{n % 2}"]])
                )
                for n in range(6)
            ]
            profile = await peer.keep(peer.note("{}", 0, tags=[["t", mark]], created_at=now() - 9))
            theirs = await other.keep(other.note("", tags=[["t", mark]], created_at=now() - 3))
            ids = [note.id for note in notes]
            ask = peer.ask
            check("serves the newest first", await ask({"authors": [own], "kinds": [1]}) == ids)
            check("a limit gives the newest", await ask({"authors": [own], "limit": 2}) == ids[:2])
            check("finds by id", await ask({"ids": [ids[3]]}) == [ids[3]])
            check(
                "finds by author and kind",
                await ask({"authors": [own], "kinds": [0]}) == [profile.id],
            )
            check(
                "finds by author and tag", await ask({"authors": [own], "#r": ["1"]}) == ids[1::2]
            )
            found = await ask({"kinds": [1], "#t": [mark]})
            check("finds by kind and tag", set(found) == {*ids, theirs.id})
            found = await ask({"#t": [mark]})
            check("finds by tag", set(found) == {*ids, theirs.id, profile.id})
            check("finds by several tags", await ask({"#t": [mark], "#r": ["0"]}) == ids[::2])
            check("finds by author", set(await ask({"authors": [own]})) == {*ids, profile.id})
            check("finds without any condition", len(await ask({"limit": 3})) == 3)
            found = await ask({"authors": [own], "kinds": [0]}, {"authors": [other.secret.public]})
            check("several filters are one union", set(found) == {profile.id, theirs.id})
            span = {"since": notes[4].created_at, "until": notes[2].created_at}
            check("since and until are inclusive", await ask({"authors": [own]} | span) == ids[2:5])
            check("limit 0 gives only EOSE", await ask({"authors": [own], "limit": 0}) == [])
            check(
                "an unknown author has nothing", await ask({"authors": [new_secret().public]}) == []
            )
            for sentence, wrong in {
                "refuses a prefix of an id": {"ids": [ids[0][:8]]},
                "refuses a prefix of an author": {"authors": [own[:8]]},
                "refuses upper case": {"authors": [own.upper()]},
                "refuses a kind beyond 16 bits in a filter": {"kinds": [65536]},
                "refuses a negative time": {"since": -1},
            }.items():
                await peer.say("REQ", "wrong", wrong)
                heard = await peer.hear()
                check(sentence, heard[:2] == ["CLOSED", "wrong"] and "invalid: " in heard[2])


async def test_subscriptions(node: Node) -> None:
    with Checks() as check:
        async with a_peer(node.url) as peer, a_peer(node.url) as other:
            missing = "ef" * 32
            check(
                "EOSE comes without events", await peer.ask({"ids": [missing]}, name="done") == []
            )
            check("a second one, too", await peer.ask({"authors": [other.secret.public]}) == [])
            event = await other.keep(other.note("later", tags=[["p", peer.secret.public]]))
            heard = await peer.hear()
            check("what comes later is served", heard[:2] == ["EVENT", "q"])
            check("as it is", heard[2]["id"] == event.id)
            wanted = {"#p": [peer.secret.public], "kinds": [20001]}
            await peer.ask(wanted, name="passing")
            check(
                "an ephemeral event is taken if somebody listens",
                (await other.publish(other.note("", 20001, tags=[["p", peer.secret.public]])))[0],
            )
            check("and delivered", (await peer.hear())[1] in ("passing", "q"))
            heard = await peer.hear()
            check("to each subscription", heard[1] in ("passing", "q"))
            check("and not kept", await peer.ask(wanted, name="passing") == [])
            accepted, text = await other.publish(peer.note("", 20002))
            check("nobody listens: mute", not accepted and text.startswith("mute: "))
            names = [f"n{number}" for number in range(64)]
            for name in names:
                await peer.say("CLOSE", "passing")
                await peer.say("CLOSE", "q")
                await peer.say("REQ", name, {"limit": 0})
            heard = [(await peer.hear())[0] for _ in names]
            check("many subscriptions at once", heard.count("EOSE") >= 60)
        async with a_peer(node.url) as again:
            check("may connect again at once", (await again.publish(again.note()))[0])
            check(
                "and reads what was written before",
                await again.ask({"ids": [event.id]}) == [event.id],
            )


# --- who one is -----------------------------------------------------------------------------------


@pytest.mark.requirement("NIP-42.checks")
async def test_proofs(node: Node) -> None:
    with Checks() as check:
        async with a_peer(node.url) as peer:
            check("prompts at once", peer.challenge)
            proof: dict[str, Any] = {"created_at": now(), "kind": kinds.CLIENT_AUTH}
            right = [["relay", node.url], ["challenge", peer.challenge]]
            wrong: dict[str, dict[str, Any]] = {
                "checks the kind": {"kind": 1, "tags": right},
                "checks the relay": {"tags": [["relay", "wrong on purpose"], right[1]]},
                "checks the challenge": {"tags": [right[0], ["challenge", "wrong on purpose"]]},
                "checks that there is a challenge": {"tags": right[:1]},
                "checks the time": {"created_at": now() - 1800, "tags": right},
            }
            for sentence, changes in wrong.items():
                event = sign_event(peer.secret, **(proof | changes))
                await peer.say("AUTH", json.loads(encode_event(event)))
                heard = await peer.hear()
                check(sentence, heard[:3] == ["OK", event.id, False])
            check("takes the proof of a key that it never saw", await peer.prove() == (True, ""))
            check("and of a second one", await peer.prove(new_secret()) == (True, ""))


async def test_who_may_read_and_write_what(node: Node) -> None:
    with Checks() as check:
        async with a_peer(node.url) as peer, a_peer(node.url) as other:
            for sentence, event in {
                "a stranger writes": peer.note(),
                "a stranger writes a relay list": peer.note(
                    "", 10002, tags=[["r", "wss://a.example"]]
                ),
                "a stranger writes an inbox list": peer.note(
                    "", 10050, tags=[["relay", "wss://a.example"]]
                ),
                "a stranger brings another's event": other.note(),
                "a stranger writes an old message": peer.note(
                    "c", 4, tags=[["p", other.secret.public]]
                ),
            }.items():
                check(sentence, (await peer.publish(event))[0])
                check(f"{sentence} and reads it", await peer.ask({"ids": [event.id]}) == [event.id])
                check(
                    f"{sentence} and another reads it",
                    await other.ask({"ids": [event.id]}) == [event.id],
                )
            key = conversation_key(peer.secret, other.secret.public)
            sealed = encrypt("x", key, bytes(32))
            to = ["p", other.secret.public]
            wrap = peer.note(sealed, 1059, tags=[to])
            check("takes a gift wrap", await peer.publish(wrap) == (True, ""))
            for sentence, event in {
                "not for nobody": peer.note(sealed, 1059),
                "not for two": peer.note(sealed, 1059, tags=[to, ["p", peer.secret.public]]),
                "not unencrypted": peer.note("plain", 1059, tags=[to]),
            }.items():
                accepted, text = await peer.publish(event)
                check(sentence, not accepted and text.startswith("invalid: "))
            for verb in ("REQ", "COUNT"):
                await other.say(verb, "mail", {"kinds": [1059]})
                heard = await other.hear()
                check(
                    f"{verb} for wraps alone: prove first", heard[2].startswith("auth-required: ")
                )
            check(
                "asked among others they are left out",
                await other.ask({"#p": [to[1]], "kinds": [4, 1059]}) != [wrap.id],
            )
            await other.prove()
            check(
                "who proved gets them", await other.ask({"kinds": [1059]}, name="mail") == [wrap.id]
            )
            await peer.prove()
            check("their author does not", await peer.ask({"kinds": [1059]}) == [])
            late = await peer.keep(peer.note(sealed, 1059, tags=[to], created_at=now() - 5))
            check("live, too", (await other.hear())[2]["id"] == late.id)
            await peer.nothing_more()


@pytest.mark.requirement("NIP-59.ephemeral")
async def test_ephemeral_gift_wraps(node: Node) -> None:
    async with a_peer(node.url) as peer, a_peer(node.url) as other:
        sealed = encrypt("x", conversation_key(peer.secret, other.secret.public), bytes(32))
        wrap = peer.note(sealed, 21059, tags=[["p", other.secret.public]])
        accepted, text = await peer.publish(wrap)
        assert not accepted
        assert text.startswith("mute: ")
        await other.prove()
        await other.ask({"kinds": [21059]})
        assert await peer.publish(wrap) == (True, "")
        assert (await other.hear())[2]["id"] == wrap.id
        assert await other.ask({"kinds": [21059]}) == []


# --- words ----------------------------------------------------------------------------------------


async def test_searching(node: Node) -> None:
    with Checks() as check:
        async with a_peer(node.url) as peer:
            word = f"zebra{new_secret().public[:8]}"
            note = await peer.keep(peer.note(f"The {word} protocol"))
            await peer.keep(peer.note(f"{word} only"))
            ask = peer.ask
            check(
                "finds what has all words", await ask({"search": f"protocol {word}"}) == [note.id]
            )
            check("and of that kind", await ask({"search": f"{word} protocol", "kinds": [0]}) == [])
            check("nothing matches", await ask({"search": f"{word} ethereum"}) == [])


async def test_expiry(node: Node) -> None:
    with Checks() as check:
        async with a_peer(node.url) as peer:
            past = peer.note(tags=[["expiration", str(now() - 1)]])
            later = peer.note(tags=[["expiration", str(now() + 600)]])
            check("refuses what has expired", not (await peer.publish(past))[0])
            check("takes what has not", (await peer.publish(later))[0])
            check("and serves it", await peer.ask({"authors": [peer.secret.public]}) == [later.id])


# --- HTTP -----------------------------------------------------------------------------------------


@pytest.mark.requirement("NIP-11.cors")
async def test_the_information_document(node: Node) -> None:
    async with aiohttp.ClientSession() as http:
        headers = {"Accept": "application/nostr+json"}
        async with http.get(node.http_url, headers=headers) as answer:
            document, said = json.loads(await answer.text()), answer.headers
            status = answer.status
        async with http.get(node.http_url, headers={"Accept": "text/html"}) as answer:
            page = answer.headers["Content-Type"]
    with Checks() as check:
        check("it is there", status == 200)
        for name in ("Origin", "Headers", "Methods"):
            check(f"a page may read it: {name}", f"Access-Control-Allow-{name}" in said)
        for nip in (1, 9, 11, 40, 42, 45, 50, 59, 65, 70, 77):
            check(f"claims NIP-{nip:02}", nip in document["supported_nips"])
        for nip in (4, 26, 29, 94, 96):
            check(f"does not claim NIP-{nip:02}", nip not in document["supported_nips"])
        for name in ("max_message_length", "max_subscriptions", "max_filters", "max_limit"):
            check(f"says its {name}", document["limitation"][name] > 0)
        check("names no software without a URL", "software" not in document)
        check("a browser gets something else", "nostr+json" not in page)


@pytest.mark.requirement("NIP-66.probed")
async def test_a_monitor_gets_all_it_asks_for(node: Node) -> None:
    async with aiohttp.ClientSession() as http:
        headers = {"Accept": "application/nostr+json"}
        async with http.get(node.http_url, headers=headers) as answer:
            document = await answer.text()
    with Checks() as check:
        async with a_peer(node.url) as peer:
            check("a monitor may open and read", isinstance(await peer.ask({"limit": 1}), list))
            await peer.say("CLOSE", "q")
            check(
                "and write what soon expires",
                (await peer.publish(peer.note("probe", tags=[["expiration", str(now() + 60)]])))[0],
            )
            tags = [["d", node.url], ["n", "clearnet"], ["R", "!auth"], ["rtt-open", "2"]]
            for at in (now() - 1, now()):
                found = await peer.keep(peer.note(document, 30166, tags=tags, created_at=at))
                plan = await peer.keep(
                    peer.note("", 10166, tags=[["frequency", "60"]], created_at=at)
                )
            asked = {"kinds": [30166], "#d": [node.url]}
            check("the newest finding is kept", await peer.ask(asked) == [found.id])
            asked = {"kinds": [10166], "authors": [peer.secret.public]}
            check("and the newest plan", await peer.ask(asked) == [plan.id])
