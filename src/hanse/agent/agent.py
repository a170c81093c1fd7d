"""The agent: finds, calls and pays as a consumer; publishes and serves offers as a provider."""

import asyncio
import contextlib
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

import msgspec

from hanse.agent.connection import Connection
from hanse.agent.functions import Function
from hanse.agent.handles import Handles
from hanse.agent.link import now_s
from hanse.agent.provider import Provider, Runner
from hanse.agent.ratings import BY_RULE, CONFIDENCE, Ratings, may_replace, stars, wanted
from hanse.errors import Conflict, HanseError, Invalid, NotFound, Restricted, Unavailable
from hanse.identity.resolver import Resolved
from hanse.keyring import Keyring
from hanse.protocol import http_auth, kinds
from hanse.protocol.amount import Amount
from hanse.protocol.event import Event, sign_event
from hanse.protocol.filter import Filter
from hanse.protocol.keys import PublicKey, SecretKey
from hanse.protocol.receipt import verify_receipt
from hanse.registry.document import OfferDocument, offer_of
from hanse.registry.model import Capability, Offer, Promise
from hanse.registry.offer_event import offer_content, offer_tags
from hanse.trust.attestation import DAY_S, Commitment, attestation_draft
from hanse.trust.settlement import settlement_evidence

F = TypeVar("F", bound=Callable[..., Any])

ASK_S = 30.0
RETRY_S = 30.0
FOUND_S = 10.0
TOKEN_LIFE_S = 600
DEADLINE_SLACK_S = 10.0


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """One ranked answer of `find`: pass it to `call`. `price` is that of a call, None if it has
    none; `words` is what was searched for, `raw` holds every field the node sent."""

    offer: str
    capability: str
    name: str
    price: Amount | None
    score: float
    reasons: tuple[str, ...]
    words: str = ""
    raw: dict[str, Any]


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """How a call ended. `output` is the provider's data, `value` its structured part; both None
    when the call was refunded, and then `fault` says why. `charged` is what you paid."""

    status: str
    output: dict[str, Any] | None
    fault: str | None
    reason: str
    charged: Amount
    call: str
    receipt: str
    raw: dict[str, Any]

    @property
    def settled(self) -> bool:
        """Whether the answer passed every check and was paid."""
        return self.status == "settled"

    @property
    def value(self) -> Any:
        """The structured output; a function's plain return value without its wrapping."""
        found = (self.output or {}).get("structuredContent")
        if isinstance(found, dict) and set(found) == {"result"}:
            return found["result"]
        return found


class Agent:
    """An agent of an operator, at a node. `auth` is the operator's attestation (NIP-OA tag).
    `attest` says whether it rates whom it paid by itself; None: unless $HANSE_ATTEST is `no`."""

    def __init__(
        self,
        node: str,
        secret: SecretKey,
        auth: tuple[str, ...] = (),
        *,
        node_key: PublicKey | None = None,
        attest: bool | None = None,
    ) -> None:
        self._attests = wanted() if attest is None else attest
        self._url = node
        self._secret = secret
        self._auth = (auth,) if auth else ()
        self._node_key = node_key
        self._functions: dict[str, Function] = {}
        self._promise = Promise()
        self._provider = Provider(secret)
        self._ratings = Ratings(self._rate)
        self._connection: Connection | None = None

    @classmethod
    def from_home(cls, name: str = "default", home: str | Path | None = None) -> "Agent":
        """The agent that `hanse init` made in a home folder (default: $HANSE_HOME or ~/.hanse), at
        the node that `hanse up` started there ($HANSE_NODE names another)."""
        folder = Path(home or os.environ.get("HANSE_HOME") or Path.home() / ".hanse")
        ring = Keyring(folder, os.environ.get("HANSE_PASSPHRASE"))
        secret, auth = ring.agent(name)
        known = ring.known_node()
        url = os.environ.get("HANSE_NODE")
        if url:
            return cls(url, secret, auth)
        if known is None:
            raise NotFound("no node is known here", hint="start one with `hanse up`")
        return cls(known.url, secret, auth, node_key=known.pubkey)

    @property
    def pubkey(self) -> PublicKey:
        """This agent's public key."""
        return self._secret.public

    @property
    def node(self) -> PublicKey:
        """The node's key; known once connected."""
        return self._open.node

    async def __aenter__(self) -> Self:
        connection = Connection(self._url, self._secret, self._auth, self._node_key)
        connection.on_request(self._answer)
        self._connection = await connection.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        connection = self._open
        try:
            await self._ratings.close()
        finally:
            self._connection = None
            await connection.__aexit__()

    @property
    def handles(self) -> Handles:
        """This agent's names at its node: claim, move, release. Needs no connection."""
        return Handles(self._url, self._secret, self._auth)

    async def resolve(self, handle: str) -> Resolved:
        """Who `name@domain` is, asked at its domain by this agent's node and followed to where its
        key has moved. `both` says whether the key names the handle too; follow the key, not the
        name. Raises HanseError."""
        return await self.handles.resolve(handle)

    # --- consumer -----------------------------------------------------------------------------

    async def find(
        self,
        words: str = "",
        *,
        max_price: str | None = None,
        latency_p95_ms: int | None = None,
        success_rate: float | None = None,
        limit: int = 10,
        **more: Any,
    ) -> list[Service]:
        """Ranked services for plain words under constraints. `more` takes every other argument of
        find_services by its name: level, regions, version, takes, returns, weights, offset, …"""
        found = await self.perform(
            "find_services",
            {
                "words": words,
                "max_price_msat": Amount.parse(max_price).msat if max_price else None,
                "latency_p95_ms": latency_p95_ms,
                "success_rate": success_rate,
                "limit": limit,
                **more,
            },
        )
        return [_service(row, words) for row in found["services"]]

    async def watch(self, words: str = "", **more: Any) -> AsyncIterator[Service]:
        """Services that match now, and each that comes to match, for as long as one listens. `more`
        takes every other argument of find_services by its name."""
        from hanse.agent.watching import matches

        def token() -> str:
            return http_auth.token(
                self._secret, node=self.node, now=now_s(), life_s=TOKEN_LIFE_S, tags=self._auth
            )

        http_url = self._url.replace("ws", "http", 1).rstrip("/")
        async for row in matches(http_url, token, {"words": words, **more}):
            yield _service(row, words)

    async def call(
        self,
        service: Service | str,
        input: dict[str, Any],
        *,
        capability: str | None = None,
        max_price: str | None = None,
        deadline_ms: int | None = None,
        key: str | None = None,
        version: str | None = None,
        confirmed: bool = False,
        attest: bool | None = None,
    ) -> Result:
        """Call a capability and pay for a checked answer.

        `service` is a hit of `find`, or an offer's address or name with `capability`. A hit is paid
        at most the price it was found at, unless `max_price` says otherwise. `version` is the range
        of versions you can use, like "^2". `key` is the idempotency key; without one a fresh one is
        made, and used again if the connection breaks, so nothing is paid twice. `confirmed` pays a
        price above what the node lets a provider of this level take unasked. A settled call is
        rated for everybody to read (`rate`), beside what you do next, unless `attest` is False.
        Raises HanseError when the call is refused; a refund is a Result.
        """
        cap = Amount.parse(max_price).msat if max_price else None
        if isinstance(service, Service):
            offer, capability = service.offer, capability or service.capability
            if cap is None and service.price is not None and capability == service.capability:
                cap = service.price.msat  # the price it was found at, should it change meanwhile
        else:
            offer = service
        if not capability:
            raise Invalid.at("capability", "is missing", "name one, or pass a hit of find()")
        arguments = {
            "offer": offer,
            "capability": capability,
            "input": input,
            "max_price_msat": cap,
            "deadline_ms": deadline_ms,
            "version": version,
            "idempotency_key": key or secrets.token_hex(16),
            "words": service.words if isinstance(service, Service) else None,
            "confirmed": confirmed or None,
        }
        wait_s = (deadline_ms or 600_000) / 1000 + DEADLINE_SLACK_S
        found = await self.perform("call_service", arguments, wait_s=wait_s)
        if self._attests if attest is None else attest:
            self._ratings.hear(found)
        return Result(
            status=found["status"],
            output=found.get("output"),
            fault=found.get("fault"),
            reason=found.get("reason") or found.get("provider_said") or "",
            charged=Amount(found["charged_msat"]),
            call=found["call"],
            receipt=found["receipt"],
            raw=found,
        )

    async def balance(self) -> Amount:
        """What this agent can spend now."""
        return Amount((await self.perform("get_balance", {}))["available_msat"])

    async def receipt(self, id: str) -> dict[str, Any]:
        """A receipt by its id or its call's: `receipt` (the signed event) and `content`."""
        return await self.perform("get_receipt", {"id": id})

    async def attest(
        self,
        call: "Result | str",
        rating: int,
        *,
        context: str = "",
        confidence: float = 1.0,
        days: int = 90,
    ) -> Event:
        """Rate who served a call, for everybody to read: 1 cheated to 5 excellent.

        The receipt of a settled call goes with it as proof of payment; without that proof praise
        counts only with those who trust your operator anyway. `call` is a Result, or the id of a
        call or receipt; `context` is what the rating is about, the capability's name if empty.
        Rating the same provider in the same context again takes the place of the first. Raises
        HanseError.
        """
        id = call.receipt if isinstance(call, Result) else call
        return await self._attest(id, rating, context, confidence, days)

    async def rate(self, call: "Result | dict[str, Any]") -> Event | None:
        """Rate a settled call by rule, as `call` does by itself: 5 within the promised p95, else 4,
        with confidence 0.5. Only another operator's agent that was paid; at most once an hour for
        a provider and capability, and never in place of a rating you gave. None if nothing was
        said; it raises nothing."""
        return await self._ratings.now(call.raw if isinstance(call, Result) else call)

    async def _rate(self, call: dict[str, Any]) -> Event | None:
        offer = await self.perform("describe_service", {"offer": call["offer"]})
        if offer["operator"] == (self._auth[0][1] if self._auth else self.pubkey):
            return None
        about = ("d", frozenset({f"{call['provider']}:{call['capability']}"}))
        mine = Filter(
            kinds=frozenset({kinds.ATTESTATION}),
            authors=frozenset({self.pubkey}),
            tags=(about,),
            limit=1,
        )
        kept = await self._open.stored(mine)
        if not may_replace(kept[0] if kept else None, now_s()):
            return None
        given = stars(call, offer["capabilities"][0]["promise"]["latency_p95_ms"])
        return await self._attest(call["receipt"], given, "", CONFIDENCE, 90, mark=dict([BY_RULE]))

    async def _attest(
        self,
        id: str,
        rating: int,
        context: str,
        confidence: float,
        days: int,
        mark: dict[str, str] | None = None,
    ) -> Event:
        found = msgspec.convert((await self.receipt(id))["receipt"], Event)
        receipt = verify_receipt(found, self.node)
        if receipt.caller != self.pubkey:
            raise Restricted("another agent paid for this call", field="call")
        paid = receipt.outcome == "settled"
        proof = settlement_evidence(found.id, receipt) if paid else None
        if proof is not None and mark:
            proof = msgspec.structs.replace(proof, fields=proof.fields | mark)
        for ahead_s in range(3):  # of two versions in one second a log keeps the lower id
            at_s = max(now_s(), found.created_at) + ahead_s
            content, tags = attestation_draft(
                receipt.provider,
                context or receipt.capability,
                rating,
                confidence,
                created_at=at_s,
                expires=at_s + days * DAY_S,
                commitment=Commitment.ECONOMIC_SETTLEMENT if paid else Commitment.SELF_ASSERTION,
                evidence=(proof,) if proof is not None else (),
            )
            event = sign_event(
                self._secret,
                kind=kinds.ATTESTATION,
                created_at=at_s,
                content=content,
                tags=(*tags, *self._auth),
            )
            with contextlib.suppress(Conflict):
                await self._open.publish(event)
                return event
        raise Conflict("a newer version is kept", field="context")

    async def trust(self, subject: str, domain: str = "") -> dict[str, Any]:
        """What your operator should think of somebody (npub or hex key), and why: `level`, `score`,
        `reasons`, what they `may` do."""
        return await self.perform("explain_trust", {"subject": subject, "domain": domain})

    async def perform(
        self, tool: str, arguments: dict[str, Any], *, wait_s: float = ASK_S
    ) -> dict[str, Any]:
        """One of the node's tools by name; its structured result. Every tool is safe to repeat (a
        call carries its key), so a broken connection is waited out and the request sent again."""
        given = {key: value for key, value in arguments.items() if value is not None}
        params = {"name": tool, "arguments": given}
        end = asyncio.get_running_loop().time() + RETRY_S
        while True:
            try:
                found = await self._open.request("tools/call", params, wait_s)
                result: dict[str, Any] = found["structuredContent"]
                return result
            except Unavailable:
                safe = tool != "call_service" or "idempotency_key" in given
                if not safe or asyncio.get_running_loop().time() > end:
                    raise
                await asyncio.sleep(0.05)

    # --- provider -----------------------------------------------------------------------------

    def provide(
        self,
        *,
        price: str,
        latency_p95_ms: int = 1000,
        success_rate: float = 0.99,
        name: str | None = None,
    ) -> Callable[[F], F]:
        """Decorator: offer a typed function as a capability at a price per call."""
        self._promise = Promise(latency_p95_ms=latency_p95_ms, success_rate=success_rate)

        def decorate(call: F) -> F:
            found = Function(call, Amount.parse(price, "price"), name)
            self._functions[found.capability.name] = found
            return call

        return decorate

    async def publish(
        self,
        *,
        identifier: str,
        name: str,
        summary: str,
        capabilities: tuple[Capability, ...],
        promise: Promise,
        runner: Runner,
        topics: tuple[str, ...] = (),
        version: str = "1.0.0",
        payment_methods: tuple[str, ...] = (),
        terms: str = "",
    ) -> Event:
        """Publish an offer and answer its calls from now on. Returns the offer's event once it is
        on the node's disk and can be found there. Where an earlier version is published, one that
        breaks its callers is refused unless `version` says so: 2.0.0 after 1.x."""
        if not capabilities:
            raise Invalid.at("capabilities", "an offer needs at least one")
        operator = PublicKey(self._auth[0][1]) if self._auth else self.pubkey
        offer = Offer(
            provider=self.pubkey,
            operator=operator,
            identifier=identifier,
            name=name,
            summary=summary,
            capabilities=capabilities,
            promise=promise,
            topics=topics,
            version=version,
            payment_methods=payment_methods,
            terms=terms,
        )
        self._provider.add(offer, runner)
        event = await self._keep(offer)
        await self._until_found(offer.address, event.id)
        return event

    async def publish_as(
        self, document: OfferDocument, served: Sequence[Capability], runner: Runner
    ) -> Event:
        """Publish what a file says of what is served here, as `publish` does. Schemas and words
        that it leaves out are those of `served`."""
        there = {found.name: found for found in served}
        for index, one in enumerate(document.capabilities):
            if one.name not in there:
                where, listed = f"offer.capabilities[{index}].name", ", ".join(sorted(there))
                raise Invalid.at(where, f"{one.name!r} is not served here", listed[:400])
        found = offer_of(document, provider=self.pubkey, operator=self.pubkey, served=there)
        return await self.publish(
            identifier=found.identifier,
            name=found.name,
            summary=found.summary,
            capabilities=found.capabilities,
            promise=found.promise,
            runner=runner,
            topics=found.topics,
            version=found.version,
            payment_methods=found.payment_methods,
            terms=found.terms,
        )

    async def withdraw(self, identifier: str) -> Event:
        """Delete one of this agent's offers (NIP-09). Returns the deletion once no search finds the
        offer any more. Raises NotFound if there is none."""
        address = f"{kinds.OFFER}:{self.pubkey}:{identifier}"
        shown = await self.perform("describe_service", {"offer": address})
        event = sign_event(
            self._secret,
            kind=kinds.DELETION,
            created_at=now_s(),
            content="withdrawn",
            tags=(("a", address), ("e", shown["event"]), ("k", str(kinds.OFFER)), *self._auth),
        )
        await self._open.publish(event)
        async with asyncio.timeout(FOUND_S):
            with contextlib.suppress(NotFound):
                while True:
                    await self.perform("describe_service", {"offer": address})
                    await asyncio.sleep(0.01)
        return event

    async def _keep(self, offer: Offer) -> Event:
        """Publish an offer's event. Of two versions in one second a log keeps the lower id: one
        that loses is dated a second later."""
        for ahead_s in range(3):
            event = sign_event(
                self._secret,
                kind=kinds.OFFER,
                created_at=now_s() + ahead_s,
                content=offer_content(offer),
                tags=(*offer_tags(offer, url=self._url, node=self.node), *self._auth),
            )
            with contextlib.suppress(Conflict):
                await self._open.publish(event)
                return event
        raise Conflict("a newer version is kept", field=f"offer {offer.identifier}")

    async def _until_found(self, address: str, event_id: str) -> None:
        """The node's registry follows its log: a moment passes between kept and findable."""
        async with asyncio.timeout(FOUND_S):
            while True:
                with contextlib.suppress(NotFound):
                    shown = await self.perform("describe_service", {"offer": address})
                    if shown["event"] == event_id:
                        return
                await asyncio.sleep(0.01)

    async def serve(
        self,
        name: str = "",
        summary: str = "",
        identifier: str = "",
        version: str = "1.0.0",
        *,
        document: OfferDocument | None = None,
    ) -> Event:
        """Publish the decorated functions as one offer, and answer calls while connected. With a
        `document` (see `registry.lint.read_document`) it says all but what the functions do."""
        if not self._functions:
            raise Invalid.at("functions", "none is offered", "decorate one with @agent.provide")
        runner = _Functions(self._functions)
        if document is not None:
            served = [found.capability for found in self._functions.values()]
            return await self.publish_as(document, served, runner)
        first = next(iter(self._functions.values())).capability
        return await self.publish(
            identifier=identifier or first.name,
            name=name or first.name,
            summary=summary or first.description,
            capabilities=tuple(found.capability for found in self._functions.values()),
            promise=self._promise,
            runner=runner,
            version=version,
        )

    def run(
        self, name: str = "", summary: str = "", identifier: str = "", version: str = "1.0.0"
    ) -> None:
        """Serve the decorated functions until the process is stopped (SIGINT or SIGTERM). Prints
        one line once the offer can be found."""

        async def forever() -> None:
            stop = asyncio.Event()
            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(number, stop.set)
            async with self:
                event = await self.serve(name, summary, identifier, version)
                address = f"{event.kind}:{event.pubkey}:{event.tag('d')}"
                sys.stdout.write(f"Serving {address} at {self._url}\n")
                sys.stdout.flush()
                await stop.wait()

        asyncio.run(forever())

    async def _answer(self, event: Event) -> Event | None:
        return await self._provider.answer(event, now_s())

    @property
    def _open(self) -> Connection:
        if self._connection is None:
            raise HanseError("the agent is not connected", hint="use `async with agent:`")
        return self._connection


class _Functions:
    """Runs decorated functions."""

    def __init__(self, functions: dict[str, Function]) -> None:
        self._functions = functions

    async def call(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """See `provider.Runner`."""
        return await self._functions[name](arguments)


def _service(row: dict[str, Any], words: str) -> Service:
    return Service(
        offer=row["offer"],
        capability=row["capability"],
        name=row["name"],
        price=Amount(row["price_msat"]) if row["price_msat"] is not None else None,
        score=row["score"],
        reasons=tuple(row["reasons"]),
        words=words,
        raw=row,
    )
