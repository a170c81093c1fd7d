"""Attack: 1,000 keys of one owner praise themselves; does their best offer pass an honest one?

A whole node in this process, with its own log, ledger, broker and registry; providers answer over
its bus. The honest offer has ten customers, ten operators whose money was granted to them, and
fails once in fifty calls. The attackers promise more, cost less, fail never, and name the words in
every call; of their texts half are stuffed with what is searched for, half copy the honest one's.

    attested     the keys are attested agents of one operator, each with money of its own
    pretending   each key says it is its own operator; one grant is moved around between all of them
    trading      as pretending, but each key was granted money too, and they pay each other in turn
    faucet       as trading, but they do not: what money alone cannot tell from customers

For each: the honest offer's score over the best attacking one's (over 1: it stays ahead), and its
place. `faucet` is no promise: it shows the limit that docs/quality.md names.
Last line: {"attack_attested", "attack_pretending", "attack_faucet", …}.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import orjson

from hanse.broker.answer import DELIVERY_META
from hanse.broker.model import CallState, Order
from hanse.broker.receipt import delivery_digest
from hanse.broker.service import CALL_META
from hanse.config import Config
from hanse.errors import HanseError
from hanse.keyring import new_secret
from hanse.node import Node
from hanse.protocol import kinds
from hanse.protocol.amount import Amount
from hanse.protocol.attestation import attest
from hanse.protocol.canonical import digest_hex
from hanse.protocol.event import Event, sign_event
from hanse.protocol.keys import PublicKey, SecretKey
from hanse.registry.model import Capability, Offer, Promise
from hanse.registry.offer_event import offer_content, offer_tags
from hanse.registry.search import Search

KEYS = 1000
CUSTOMERS = 10
CALLS_EACH = 5
AT_ONCE = 200
AHEAD_MAX = 1e6
"""What is shown when no attacking offer is found at all."""
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Who is ahead does not depend on a disk."""
QUERY = "send an sms to a us phone number"
HONEST = ("Short messages", "Sends a text message (SMS) to a phone number in the US.")
STUFFED = (QUERY, "send sms us phone number text message fast cheap best sms send number " * 20)
OUTPUT = {"content": [], "structuredContent": {"sent": True}}
OUTPUT_SHA256 = digest_hex(OUTPUT)


class Party(msgspec.Struct, frozen=True):
    """A key, who answers for it, and the address of what it offers."""

    secret: SecretKey
    owner: SecretKey | None = None

    @property
    def key(self) -> PublicKey:
        """The agent's key."""
        return self.secret.public

    @property
    def operator(self) -> PublicKey:
        """Who answers for it."""
        return self.owner.public if self.owner else self.key

    @property
    def address(self) -> str:
        """Its one offer."""
        return f"{kinds.OFFER}:{self.key}:sms"


class Harbour:
    """A node and its providers, all in this process."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._providers: dict[str, SecretKey] = {}
        self.paid = self.refunded = 0
        node.bus.listen(self._asked)

    async def offers(
        self, parties: Sequence[Party], *, price: Amount, promise: Promise, texts: tuple[str, str]
    ) -> None:
        """Publish one offer of each party and connect it."""
        events = [self._offer(party, price, promise, texts) for party in parties]
        for kept in await self.node.log.append_many(events):
            if isinstance(kept, HanseError):
                raise kept
        for party in parties:
            self._providers[party.key] = party.secret
            self.node.presence.arrive(party.key)
        await self.node.offers.advance()
        await self.node.indexing.advance()

    def _offer(
        self, party: Party, price: Amount, promise: Promise, texts: tuple[str, str]
    ) -> Event:
        name, text = texts
        offer = Offer(
            provider=party.key,
            operator=party.operator,
            identifier="sms",
            name=name,
            summary=text,
            capabilities=(
                Capability(
                    name="send_sms",
                    description=text,
                    input_schema={"type": "object", "properties": {"to": {"type": "string"}}},
                    output_schema={"type": "object", "required": ["sent"]},
                    price=price,
                ),
            ),
            promise=promise,
        )
        tags = offer_tags(offer, url="wss://node.example", node=self.node.pubkey)
        if party.owner is not None:
            tags = (*tags, attest(party.owner, party.key).tag)
        return sign_event(
            party.secret,
            kind=kinds.OFFER,
            created_at=int(time.time()),
            tags=tags,
            content=offer_content(offer),
        )

    def _asked(self, event: Event) -> int:
        provider = self._providers.get(event.tag("p") or "")
        if event.kind != kinds.RPC or provider is None or event.pubkey != self.node.pubkey:
            return 0
        asyncio.get_running_loop().call_soon(self._answer, event, provider)
        return 1

    def _answer(self, event: Event, provider: SecretKey) -> None:
        asked = orjson.loads(event.content)
        terms = asked["params"]["_meta"][CALL_META]
        body: dict[str, Any] = {"jsonrpc": "2.0", "id": asked["id"]}
        if asked["params"]["arguments"].get("to") == "nowhere":
            body["error"] = {"code": -32000, "message": "no route"}
        else:
            digest = delivery_digest(
                terms["call"], terms["input_sha256"], OUTPUT_SHA256, terms["price_msat"]
            )
            body["result"] = OUTPUT | {"_meta": {DELIVERY_META: provider.sign(digest)}}
        answer = sign_event(
            provider,
            kind=kinds.RPC,
            created_at=int(time.time()),
            content=orjson.dumps(body).decode(),
            tags=(("p", event.pubkey), ("e", event.id)),
        )
        self.node.bus.publish(answer)

    async def grant(self, party: Party, sat: int) -> None:
        """Money from outside."""
        await self.node.payments.grant(f"bench:{party.key}", party.key, Amount(sat * 1000), "")

    async def calls(self, orders: Sequence[tuple[Party, Party, str]]) -> None:
        """Paid calls: (caller, provider, key). One whose key ends in "fails" does."""
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(caller: Party, provider: Party, key: str) -> None:
            to = "nowhere" if key.endswith("fails") else "+1555"
            order = Order(
                caller=caller.key,
                operator=caller.operator,
                key=f"{provider.key} {key}",
                offer=provider.address,
                capability="send_sms",
                input={"to": to},
                input_sha256=digest_hex({"to": to}),
                max_price=None,
                deadline_ms=60_000,
                words=QUERY,
            )
            async with gate:
                call = await self.node.broker.call(order)
            self.paid += call.state is CallState.SETTLED
            self.refunded += call.state is CallState.REFUNDED

        await asyncio.gather(*(one(*order) for order in orders))

    async def honest(self) -> Party:
        """The offer with ten real customers."""
        provider = Party(new_secret())
        await self.offers([provider], price=Amount(2000), promise=Promise(), texts=HONEST)
        customers = [Party(new_secret()) for _ in range(CUSTOMERS)]
        for customer in customers:
            await self.grant(customer, 100)
        await self.calls(
            [
                (customer, provider, f"{number}" + (" fails" if first and not number else ""))
                for first, customer in ((found is customers[0], found) for found in customers)
                for number in range(CALLS_EACH)
            ]
        )
        return provider


async def attested(harbour: Harbour, keys: int) -> list[Party]:
    """One operator's agents call each other and its best offer."""
    owner = new_secret()
    gang = [Party(new_secret(), owner) for _ in range(keys)]
    await _stuffed(harbour, gang)
    for party in gang:
        await harbour.grant(party, 10)
    await harbour.calls(_praise(gang) + _around(gang))
    return gang


async def pretending(harbour: Harbour, keys: int) -> list[Party]:
    """Keys without an owner, one of them with money, which goes round."""
    gang = [Party(new_secret()) for _ in range(keys)]
    await _stuffed(harbour, gang)
    await harbour.grant(gang[0], 10 * keys)
    spread = [(gang[0], party, f"spread {turn}") for party in gang[1:] for turn in range(3)]
    await harbour.calls(spread)
    await harbour.calls(_around(gang[1:]) + _praise(gang[1:]))
    return gang


async def faucet(harbour: Harbour, keys: int) -> list[Party]:
    """Keys without an owner, each with money from outside."""
    gang = [Party(new_secret()) for _ in range(keys)]
    await _stuffed(harbour, gang)
    for party in gang:
        await harbour.grant(party, 10)
    await harbour.calls(_praise(gang))
    return gang


async def trading(harbour: Harbour, keys: int) -> list[Party]:
    """Keys without an owner, each with money from outside, that also pay each other."""
    gang = await faucet(harbour, keys)
    await harbour.calls(_around(gang))
    return gang


async def _stuffed(harbour: Harbour, gang: Sequence[Party]) -> None:
    bold = Promise(latency_p95_ms=600_000, success_rate=1.0)
    await harbour.offers(gang[::2], price=Amount(1000), promise=bold, texts=HONEST)
    await harbour.offers(gang[1::2], price=Amount(1000), promise=bold, texts=STUFFED)


def _praise(gang: Sequence[Party]) -> list[tuple[Party, Party, str]]:
    return [(party, gang[0], "praise") for party in gang[1:]]


def _around(gang: Sequence[Party]) -> list[tuple[Party, Party, str]]:
    return [(party, gang[(number + 1) % len(gang)], "around") for number, party in enumerate(gang)]


SCENES = {"attested": attested, "pretending": pretending, "trading": trading, "faucet": faucet}


async def scene(name: str, keys: int) -> dict[str, Any]:
    """One attack on a new node: who is ahead afterwards."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        config = Config(data=Path(folder), port=0, doors=frozenset())
        async with Node(config, new_secret(), new_secret().public) as node:
            harbour = Harbour(node)
            provider = await harbour.honest()
            gang = {party.key for party in await SCENES[name](harbour, keys)}
            await node.observing.count()
            await node.indexing.advance()
            await node.indexing.tend(int(time.time()))
            return {
                **await _ranked(node, provider, gang),
                "paid_calls": harbour.paid,
                "seconds": round(time.perf_counter() - started, 1),
            }


async def _ranked(node: Node, provider: Party, gang: set[PublicKey]) -> dict[str, Any]:
    found = await node.registry.find(Search(words=QUERY, limit=50))
    places = [hit.offer.provider for hit in found.hits]
    honest = next((hit for hit in found.hits if hit.offer.provider == provider.key), None)
    best = max((hit.score for hit in found.hits if hit.offer.provider in gang), default=0.0)
    top = next((hit for hit in found.hits if hit.offer.provider in gang), None)
    return {
        "ahead": round(min(AHEAD_MAX, honest.score / max(best, 1e-9)), 3) if honest else 0.0,
        "place": places.index(provider.key) + 1 if honest else None,
        "honest_voices": round(honest.measured.voices, 2) if honest else None,
        "attacking_voices": round(top.measured.voices, 2) if top else None,
        "honest": list(honest.reasons) if honest else [],
        "attacking": list(top.reasons) if top else [],
    }


async def attack(keys: int = KEYS) -> dict[str, Any]:
    """Every scene; figures by `attack_<scene>`."""
    figures: dict[str, Any] = {}
    for name in SCENES:
        found = await scene(name, keys)
        print(
            f"{name:11} ahead {found['ahead']}  place {found['place']}  voices "
            f"{found['honest_voices']} : {found['attacking_voices']}  paid calls "
            f"{found['paid_calls']}  {found['seconds']} s"
        )
        for side in ("honest", "attacking"):
            print(f"  {side:10}", "; ".join(found.pop(side)))
        figures[f"attack_{name}"] = found["ahead"]
        figures[f"attack_{name}_place"] = found["place"]
    return figures


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="the same: it is quick")
    parser.add_argument("--keys", type=int, default=KEYS)
    wanted = parser.parse_args()
    print(json.dumps(asyncio.run(attack(wanted.keys))))


if __name__ == "__main__":
    main()
