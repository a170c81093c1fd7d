"""NIP-86 over HTTP, with its effects on the socket; admission over a socket."""

import asyncio
from pathlib import Path
from secrets import token_hex
from typing import Any

import aiohttp
import orjson
import pytest
from tests.conftest import People, running_node
from tests.relay_peer import WAIT_S, a_peer, eventually, now
from websockets.exceptions import InvalidStatus

from hanse.keyring import new_secret
from hanse.node import Node
from hanse.protocol import http_auth, kinds
from hanse.protocol.filter import Filter
from hanse.protocol.keys import SecretKey
from hanse.servers.relay.buckets import Rate
from hanse.servers.relay.rules import Members, Rates, Rules, Work
from hanse.servers.relay.words import Words
from hanse.trust.rotation import End, statement_draft

RPC = "application/nostr+json+rpc"


async def post(
    node: Node,
    secret: SecretKey | None,
    body: bytes,
    *,
    url: str = "",
    method: str = "POST",
    signed: bytes | None = None,
    header: str = "",
    content_type: str = RPC,
) -> tuple[int, Any]:
    """One request to the relay's URL; (status, JSON)."""
    headers = {"Content-Type": content_type}
    if secret is not None:
        header = http_auth.request_header(
            secret,
            url=url or node.url,
            method=method,
            body=body if signed is None else signed,
            now=now(),
            tags=(("nonce", token_hex(8)),),  # two alike in one second would be a replay
        )
    if header:
        headers["Authorization"] = header
    async with (
        aiohttp.ClientSession() as session,
        asyncio.timeout(WAIT_S),
        session.post(node.http_url + "/", data=body, headers=headers) as response,
    ):
        return response.status, orjson.loads(await response.read())


def asked(method: str, *params: Any) -> bytes:
    return orjson.dumps({"method": method, "params": params})


async def manage(node: Node, secret: SecretKey, method: str, *params: Any) -> Any:
    """The result of a method that must succeed."""
    status, found = await post(node, secret, asked(method, *params))
    assert (status, found.get("error")) == (200, None)
    return found["result"]


async def info(node: Node) -> dict[str, Any]:
    headers = {"Accept": "application/nostr+json"}
    async with (
        aiohttp.ClientSession() as session,
        session.get(node.http_url + "/", headers=headers) as response,
    ):
        found: dict[str, Any] = await response.json(content_type=None)
        return found


# --- who may --------------------------------------------------------------------------------------


async def test_without_a_signature_for_this_very_request_nothing_is_done(
    node: Node, operator: SecretKey
) -> None:
    body, key = asked("banpubkey", "11" * 32), operator
    assert (await post(node, None, body))[0] == 401
    assert (await post(node, key, body, url="ws://other.example"))[0] == 401
    assert (await post(node, key, body, url=node.url + "/api"))[0] == 401
    assert (await post(node, key, body, method="GET"))[0] == 401
    assert (await post(node, key, body, signed=asked("banpubkey", "22" * 32)))[0] == 401
    assert (await post(node, key, body, signed=b""))[0] == 401
    assert (await post(node, key, b""))[0] == 401
    token = http_auth.token(key, node=node.pubkey, now=now(), life_s=60)
    assert (await post(node, None, body, header=f"Bearer {token}"))[0] == 401
    assert (await post(node, new_secret(), body))[0] == 403
    assert (await post(node, key, body, content_type="application/json"))[0] == 400
    assert await manage(node, operator, "listbannedpubkeys") == []


async def test_a_request_is_good_once(node: Node, operator: SecretKey) -> None:
    body = asked("supportedmethods")
    header = http_auth.request_header(
        operator, url=node.url + "/", method="POST", body=body, now=now()
    )
    status, found = await post(node, None, body, header=header)
    assert status == 200
    assert "banpubkey" in found["result"]
    assert (await post(node, None, body, header=header))[0] == 401


async def test_a_request_is_good_once_even_past_a_restart(
    tmp_path: Path, operator: SecretKey
) -> None:
    secret, body = new_secret(), asked("supportedmethods")
    header = http_auth.request_header(
        operator, url="https://relay.example/", method="POST", body=body, now=now()
    )
    headers = {"Authorization": header, "Content-Type": "application/nostr+json+rpc"}
    statuses = []
    for _ in range(2):
        async with (
            running_node(tmp_path, operator, secret, public_url="wss://relay.example") as node,
            aiohttp.ClientSession() as session,
            session.post(f"http://127.0.0.1:{node.port}/", data=body, headers=headers) as found,
        ):
            statuses.append(found.status)
    assert statuses == [200, 401]


async def test_an_admin_of_the_settings_may_manage_too(tmp_path: Path, operator: SecretKey) -> None:
    admin = new_secret()
    async with running_node(tmp_path, operator, admins=frozenset({admin.public})) as node:
        assert await manage(node, admin, "changerelayname", "The Hall") is True


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("dance", []),
        ("banpubkey", []),
        ("banpubkey", ["nobody"]),
        ("banpubkey", ["11" * 32, 5]),
        ("banevent", ["11"]),
        ("unbanevent", [11]),
        ("assignmethod", ["11" * 32]),
        ("assignmethod", ["nobody", "banevent"]),
        ("assignmethod", ["11" * 32, 5]),
        ("allowkind", ["1"]),
        ("allowkind", [True]),
        ("allowkind", [70000]),
        ("blockip", ["everywhere"]),
        ("changerelayname", ["x" * 201]),
        ("changerelayname", [""]),
        ("changerelaydescription", ["x" * 1001]),
        ("changerelayicon", ["https://relay.example/\n"]),
        ("changerelayicon", ["javascript:alert(1)"]),
    ],
)
async def test_a_wrong_method_or_parameter_is_an_error_and_changes_nothing(
    node: Node, operator: SecretKey, method: str, params: list[Any]
) -> None:
    status, found = await post(node, operator, asked(method, *params))
    assert status == 200
    assert found["result"] is None
    assert found["error"]
    assert list(node.admission.lists.entries()) == []


# --- what it does ---------------------------------------------------------------------------------


async def test_a_banned_key_loses_what_it_wrote_and_may_come_back(
    node: Node, operator: SecretKey
) -> None:
    async with a_peer(node.url) as peer:
        event = await peer.keep(peer.note("bad"))
        assert await manage(node, operator, "banpubkey", event.pubkey, "spam") is True
        assert await peer.ask({"ids": [event.id]}) == []
        await peer.say("CLOSE", "q")
        assert (await peer.publish(event))[1].startswith("blocked: event.pubkey")
        found = await manage(node, operator, "listbannedpubkeys")
        assert found == [{"pubkey": event.pubkey, "reason": "spam"}]
        await manage(node, operator, "unbanpubkey", event.pubkey)
        await peer.keep(event)


async def test_a_reported_event_waits_for_a_decision_and_a_banned_one_is_gone(
    node: Node, operator: SecretKey
) -> None:
    async with a_peer(node.url) as peer:
        bad, fine = await peer.keep(peer.note("bad")), await peer.keep(peer.note("fine"))
        for event in (bad, fine):
            tags = [["e", event.id, "spam"], ["p", event.pubkey]]
            await peer.keep(peer.note("look", kind=1984, tags=tags))
        found = await manage(node, operator, "listeventsneedingmoderation")
        assert sorted(one["id"] for one in found) == sorted([bad.id, fine.id])
        assert found[0]["reason"] == "spam: look"
        await manage(node, operator, "allowevent", fine.id)
        await manage(node, operator, "banevent", bad.id, "spam")
        assert await manage(node, operator, "listeventsneedingmoderation") == []
        assert await peer.ask({"ids": [bad.id, fine.id]}) == [fine.id]
        await peer.say("CLOSE", "q")
        assert (await peer.publish(bad))[1].startswith("blocked: event.id")
        listed = await manage(node, operator, "listbannedevents")
        assert listed == [{"id": bad.id, "reason": "spam"}]


async def test_what_was_decided_on_an_event_is_listed_and_undone(
    node: Node, operator: SecretKey
) -> None:
    async with a_peer(node.url) as peer:
        event = await peer.keep(peer.note("perhaps"))
        await manage(node, operator, "banevent", event.id, "spam")
        assert await manage(node, operator, "unbanevent", event.id) is True
        assert await manage(node, operator, "listbannedevents") == []
        assert await manage(node, operator, "listallowedevents") == []
        await peer.keep(event)
        await manage(node, operator, "allowevent", event.id, "looked at")
        found = await manage(node, operator, "listallowedevents")
        assert found == [{"id": event.id, "reason": "looked at"}]
        assert await manage(node, operator, "unallowevent", event.id) is True
        assert await manage(node, operator, "listallowedevents") == []


async def test_who_was_granted_a_method_may_call_it_and_nothing_else(
    tmp_path: Path, operator: SecretKey
) -> None:
    secret, helper, id = new_secret(), new_secret(), "11" * 32

    async def refusal(*what: str) -> str:
        status, found = await post(node, helper, asked(*what))
        return str(found["error"]) if status == 200 else str(status)

    admin = new_secret()
    settings: dict[str, Any] = {"admins": frozenset({admin.public})}
    async with running_node(tmp_path, operator, secret, **settings) as node:
        assert await refusal("banevent", id) == "403"
        for method in ("banevent", "banpubkey"):
            granted = await manage(node, operator, "assignmethod", helper.public, method)
            assert granted == [True, ""]
        for method in ("dance", "assignmethod", "supportedmethods"):
            refused = await manage(node, operator, "assignmethod", helper.public, method)
            assert refused == [False, f"{method} is no method that can be granted"]
    async with running_node(tmp_path, operator, secret, **settings) as node:
        found = await manage(node, operator, "listmethodassignees")
        assert found == [{"pubkey": helper.public, "methods": ["banevent", "banpubkey"]}]
        may = await manage(node, helper, "supportedmethods")
        assert may == ["supportedmethods", "banevent", "banpubkey"]
        assert await manage(node, helper, "banevent", id, "spam") is True
        assert "method: was not granted" in await refusal("unbanevent", id)
        assert "method: was not granted" in await refusal("assignmethod", helper.public, "blockip")
        assert "pubkey: is of those who" in await refusal("banpubkey", admin.public)
        assert "pubkey: is this node's own" in await refusal("banpubkey", operator.public)
        await manage(node, operator, "banpubkey", helper.public, "went wild")
        assert await refusal("banevent", id) == "403"
        await manage(node, operator, "unbanpubkey", helper.public)
        for method in ("banevent", "banpubkey"):
            await manage(node, operator, "unassignmethod", helper.public, method)
        assert await refusal("banevent", id) == "403"
        assert await manage(node, operator, "listmethodassignees") == []


async def test_a_method_is_not_granted_to_a_key_that_ended(node: Node, operator: SecretKey) -> None:
    helper = new_secret()
    await manage(node, operator, "assignmethod", helper.public, "listbannedevents")
    assert await manage(node, helper, "listbannedevents") == []
    content, tags = statement_draft(helper.public, End(reason="stolen"))
    async with a_peer(node.url, helper) as peer:
        await peer.keep(peer.note(content, kind=kinds.KEY_STATEMENT, tags=tags))
    await node.evidence.advance()
    await node.trust.standings.advance()
    status, found = await post(node, helper, asked("listbannedevents"))
    assert (status, found["reason"]) == (403, "this key speaks for nobody any more")


async def test_what_the_node_says_itself_and_its_own_keys_are_not_banned(
    node: Node, people: People, operator: SecretKey
) -> None:
    shop, buyer = await people.connected(), await people.connected("10sat")

    @shop.provide(price="3sat")
    async def upper(text: str) -> str:
        """Write it in capitals."""
        return text.upper()

    await shop.serve()
    await buyer.call(f"{kinds.OFFER}:{shop.pubkey}:upper", {"text": "a"}, capability="upper")
    asked_for = Filter(kinds=frozenset({kinds.RECEIPT}))

    async def receipts() -> list[bytes]:
        found = await node.log.query([asked_for], limit=10, now_s=now())
        return [row[2] for row in found.rows]

    (receipt,) = await receipts()
    for method, item in (
        ("banevent", receipt.hex()),
        ("banpubkey", node.pubkey),
        ("banpubkey", operator.public),
    ):
        _, found = await post(node, operator, asked(method, item))
        assert "this node's own" in found["error"]
    assert await receipts() == [receipt]
    assert list(node.admission.lists.entries()) == []


async def test_an_icon_can_be_taken_back(node: Node, operator: SecretKey) -> None:
    await manage(node, operator, "changerelayicon", "https://relay.example/i.png")
    await manage(node, operator, "changerelayicon", "")
    assert "icon" not in await info(node)


async def test_a_blocked_address_is_turned_out_and_not_let_in(
    node: Node, operator: SecretKey
) -> None:
    afar: dict[str, Any] = {"additional_headers": {"X-Forwarded-For": "203.0.113.7"}}
    async with a_peer(node.url, **afar) as peer, a_peer(node.url) as near:
        await manage(node, operator, "blockip", "::ffff:203.0.113.7", "flood")
        assert await peer.hear() == ["NOTICE", "blocked: this address may not connect"]
        assert await peer.close_code() == 1008
        await near.keep(near.note())
        with pytest.raises(InvalidStatus, match="403"):
            async with a_peer(node.url, **afar):
                pass
        found = await manage(node, operator, "listblockedips")
        assert found == [{"ip": "203.0.113.7", "reason": "flood"}]
        await manage(node, operator, "unblockip", "203.0.113.7")
        async with a_peer(node.url, **afar) as again:
            await again.keep(again.note())


async def test_decisions_and_the_relays_words_survive_a_restart(
    tmp_path: Path, operator: SecretKey
) -> None:
    secret, key = new_secret(), new_secret()
    async with running_node(tmp_path, operator, secret) as node:
        await manage(node, operator, "changerelayname", "The Hall")
        await manage(node, operator, "changerelaydescription", "Trade by trust")
        await manage(node, operator, "changerelayicon", "https://relay.example/i.png")
        await manage(node, operator, "banpubkey", key.public, "spam")
        await manage(node, operator, "allowpubkey", key.public, "said sorry")
        await manage(node, operator, "disallowkind", 7)
        assert (await info(node))["name"] == "The Hall"
    async with running_node(tmp_path, operator, secret) as node:
        found = await info(node)
        assert (found["name"], found["description"]) == ("The Hall", "Trade by trust")
        assert found["icon"] == "https://relay.example/i.png"
        assert await manage(node, operator, "listbannedpubkeys") == []
        allowed = await manage(node, operator, "listallowedpubkeys")
        assert allowed == [{"pubkey": key.public, "reason": "said sorry"}]
        assert node.admission.lists.denied_kinds == {7: ""}


async def test_the_relays_words_win_over_the_settings(tmp_path: Path, operator: SecretKey) -> None:
    words = Words(
        description="Before", icon="https://relay.example/1.png", contact="mailto:a@b.example"
    )
    async with running_node(tmp_path, operator, name="Old", words=words) as node:
        found = await info(node)
        assert (found["name"], found["description"]) == ("Old", "Before")
        await manage(node, operator, "changerelayname", "New")
        await manage(node, operator, "changerelaydescription", "After")
        await manage(node, operator, "changerelayicon", "https://relay.example/2.png")
    async with running_node(tmp_path, operator, name="Old", words=words) as node:
        found = await info(node)
        assert (found["name"], found["description"]) == ("New", "After")
        assert found["icon"] == "https://relay.example/2.png"
        assert found["contact"] == "mailto:a@b.example"


# --- admission over a socket ----------------------------------------------------------------------


async def test_the_information_document_says_what_writing_takes(
    tmp_path: Path, operator: SecretKey
) -> None:
    member = new_secret()
    rules = Rules(work=Work(bits=12), members=Members(keys=frozenset({member.public}), only=True))
    async with running_node(tmp_path, operator, rules=rules) as node:
        limitation = (await info(node))["limitation"]
        assert limitation["min_pow_difficulty"] == 12
        assert limitation["restricted_writes"] is True
        async with a_peer(node.url) as peer:
            assert (await peer.publish(peer.note()))[1].startswith("pow: 12 bits are needed")
        async with a_peer(node.url, member) as peer:
            await peer.keep(peer.note())


async def test_a_protected_event_is_taken_after_its_author_authenticated(node: Node) -> None:
    async with a_peer(node.url) as peer:
        event = peer.note(tags=[["-"]])
        assert (await peer.publish(event))[1].startswith("auth-required:")
        await peer.prove()
        await peer.keep(event)


async def test_who_comes_through_a_proxy_is_limited_and_who_is_here_is_not(
    tmp_path: Path, operator: SecretKey
) -> None:
    rules = Rules(rates=Rates(address=Rate(0.01, 3)))
    afar: dict[str, Any] = {"additional_headers": {"X-Forwarded-For": "203.0.113.7"}}
    async with (
        running_node(tmp_path, operator, rules=rules) as node,
        a_peer(node.url, **afar) as peer,
        a_peer(node.url) as near,
    ):
        answers = [await peer.publish(peer.note(str(number))) for number in range(4)]
        assert [accepted for accepted, _ in answers] == [True, True, True, False]
        assert answers[3][1].startswith("rate-limited: wait ")
        for number in range(10):
            await near.keep(near.note(str(number)))


async def test_an_event_known_to_be_good_is_not_believed_with_another_content(node: Node) -> None:
    async with a_peer(node.url) as peer:
        event = await peer.keep(peer.note("true"))
        assert (await peer.publish(event))[1].startswith("duplicate:")
        body = {key: getattr(event, key) for key in event.__struct_fields__}
        body["content"] = "false"
        await peer.say("EVENT", body)
        heard = await peer.hear()
        assert heard[2] is False
        assert heard[3].startswith("invalid: event.id")


async def test_the_offers_of_a_banned_provider_are_found_no_more(
    node: Node, people: People, operator: SecretKey
) -> None:
    provider, consumer = await people.connected(), await people.connected()

    @provider.provide(price="1sat")
    def shout(text: str) -> str:
        "Say it loud."
        return text.upper()

    await provider.serve()
    await eventually(lambda: node.registry.offers())
    assert await consumer.find("say it loud")
    assert await manage(node, operator, "banpubkey", provider.pubkey, "spam") is True
    assert await consumer.find("say it loud") == []
    assert await node.registry.offers() == 0
