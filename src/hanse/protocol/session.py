"""One client's conversation with a relay, without I/O: text in, effects out.

    Session.receive(text, now) -> [Effect, …]

    Send    write this text to the client       Watch    answer what is stored, then deliver what is
    Store   check, admit and append this event           new, until Unwatch or a Watch of that name
    Count   tell how many events match          Unwatch  end a subscription
    Open    begin a comparison of sets          Advance  its next message    Forget   it is over
    Close   end the connection                  Authenticated   the client proved a key

Who the client has proved to be, which subscriptions and comparisons are open, how fast it asks, and
the limits on all of that live here. NIP-01, NIP-42, NIP-45, NIP-77.
"""

import msgspec

from hanse.errors import AuthRequired, HanseError, Invalid, RateLimited, Stale
from hanse.protocol import kinds, message
from hanse.protocol.event import Event, check_event
from hanse.protocol.filter import Filter
from hanse.protocol.keys import PublicKey

AUTH_WINDOW_S = 600
"""NIP-42: "within around 10 minutes" of now."""

NOBODY: frozenset[PublicKey] = frozenset()
NOTHING: frozenset[str] = frozenset()


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds on one connection, shown in NIP-11.

    What asks for work (REQ, COUNT, AUTH, NEG-OPEN, NEG-MSG) takes one of `requests_burst` tokens;
    `requests_per_s` of them come back every second.
    """

    subscriptions_max: int = 64
    identities_max: int = 16
    comparisons_max: int = 4
    refusals_max: int = 200
    requests_burst: int = 20_000
    requests_per_s: int = 500


class Send(msgspec.Struct, frozen=True, gc=False):
    text: bytes


Store = message.Publish
Watch = message.Request
Unwatch = message.Drop
"""What a client asks for is in these what is to be done."""


class Count(msgspec.Struct, frozen=True):
    """`target`: see `message.Count`."""

    subscription: str
    filters: tuple[Filter, ...]
    target: str | None


class Open(msgspec.Struct, frozen=True):
    subscription: str
    filter: Filter
    text: bytes


class Advance(msgspec.Struct, frozen=True):
    subscription: str
    text: bytes


class Forget(msgspec.Struct, frozen=True):
    subscription: str


class Authenticated(msgspec.Struct, frozen=True):
    """The client proved a new key; `event` may carry its owner's attestation."""

    event: Event


class Close(msgspec.Struct, frozen=True):
    reason: str


Effect = Send | Store | Watch | Unwatch | Count | Open | Advance | Forget | Authenticated | Close


class Session:
    """State of one connection: who it has proved to be and what it subscribed to.

    `hosts` are the `host[:port]` names that reach this relay; an AUTH for any other is refused,
    or a relay in the middle could use its client's answer here.
    """

    __slots__ = (
        *("_challenge", "_hosts", "_limits", "_refusals", "_tokens", "_tokens_at_s"),
        *("comparisons", "identities", "subscriptions"),
    )

    def __init__(self, challenge: str, hosts: frozenset[str], limits: Limits) -> None:
        self._challenge = challenge
        self._hosts = hosts
        self._limits = limits
        self._refusals = 0
        self._tokens = limits.requests_burst
        self._tokens_at_s = 0
        self.subscriptions: set[str] = set()
        # Most connections prove nothing and compare nothing: what is empty is shared.
        self.identities: frozenset[PublicKey] = NOBODY
        self.comparisons: frozenset[str] = NOTHING

    def greet(self) -> bytes:
        """What to say first: the NIP-42 challenge."""
        return message.challenge(self._challenge)

    def ended(self, subscription: str) -> None:
        """The relay ended this subscription by itself."""
        self.subscriptions.discard(subscription)

    def forgotten(self, subscription: str) -> None:
        """The relay ended this comparison by itself."""
        self.comparisons -= {subscription}

    def receive(self, text: bytes | str, now: int) -> list[Effect]:
        """The effects of one message. Never raises for what a client sends. `now` in seconds."""
        try:
            found = message.parse_client_message(text)
        except message.BadRequest as exc:
            return self._refuse(*self._refusal(exc.verb, exc.subscription, exc))
        except Invalid as exc:
            return self._refuse(Send(message.notice(exc.wire)))
        if isinstance(found, message.Request):
            return self._watch(found, now)
        if isinstance(found, message.Publish):
            return [found]
        if isinstance(found, message.Drop):
            self.subscriptions.discard(found.subscription)
            return [found]
        match found:
            case message.Count():
                return self._count(found, now)
            case message.Reconcile() | message.Continue() | message.Forget():
                return self._compare(found, now)
            case message.Authenticate(event=event):
                return self._authenticate(event, now)

    # --- refusing -----------------------------------------------------------------------------

    def _refuse(self, *answer: Effect) -> list[Effect]:
        # A client that only sends rubbish costs us a parse each time: after so many it goes.
        self._refusals += 1
        if self._refusals > self._limits.refusals_max:
            return [*answer, Close("too many messages that could not be read")]
        return list(answer)

    def _refusal(self, verb: str, name: str, reason: HanseError) -> list[Effect]:
        """What a refused REQ, COUNT, NEG-* or AUTH is answered with. It ends what is open under
        that name: the client believes that it was replaced."""
        if verb == "AUTH":
            return [Send(message.ok(name, False, reason.wire))]
        if verb.startswith("NEG"):
            ended: list[Effect] = [Forget(name)] if name in self.comparisons else []
            self.forgotten(name)
            return [*ended, Send(message.neg_error(name, reason.wire))]
        if verb == "REQ":
            ended = [Unwatch(name)] if name in self.subscriptions else []
            self.ended(name)
            return [*ended, Send(message.closed(name, reason.wire))]
        return [Send(message.closed(name, reason.wire))]

    def _take_token(self, now: int) -> None:
        """Raises RateLimited when this client has asked for too much. `now` in seconds."""
        if now == self._tokens_at_s and self._tokens >= 1:
            self._tokens -= 1
            return
        limits = self._limits
        back = max(0, now - self._tokens_at_s) * limits.requests_per_s
        self._tokens = min(limits.requests_burst, self._tokens + back)
        self._tokens_at_s = now
        if self._tokens < 1:
            raise RateLimited("too many requests", hint="wait 1 s")
        self._tokens -= 1

    # --- asking -------------------------------------------------------------------------------

    def _watch(self, found: message.Request, now: int) -> list[Effect]:
        name = found.subscription
        try:
            self._take_token(now)
            self._check_privacy(found.filters)
            if name not in self.subscriptions:
                most = self._limits.subscriptions_max
                if len(self.subscriptions) >= most:
                    raise RateLimited(f"at most {most} subscriptions", hint="close one first")
                self.subscriptions.add(name)
        except HanseError as exc:
            return self._refusal("REQ", name, exc)
        return [found]

    def _count(self, found: message.Count, now: int) -> list[Effect]:
        try:
            self._take_token(now)
            self._check_privacy(found.filters)
        except HanseError as exc:
            return self._refusal("COUNT", found.subscription, exc)
        return [Count(found.subscription, found.filters, found.target)]

    def _compare(
        self, found: message.Reconcile | message.Continue | message.Forget, now: int
    ) -> list[Effect]:
        name = found.subscription
        if isinstance(found, message.Forget):
            self.forgotten(name)
            return [Forget(name)]
        try:
            self._take_token(now)
            if isinstance(found, message.Continue):
                if name in self.comparisons:
                    return [Advance(name, found.text)]
                return [Send(message.neg_error(name, "closed: no comparison has this name"))]
            self._check_privacy((found.filter,))
            most = self._limits.comparisons_max
            if len(self.comparisons | {name}) > most:
                raise RateLimited(f"at most {most} comparisons", hint="close one first")
        except HanseError as exc:
            return self._refusal("NEG-OPEN", name, exc)
        self.comparisons |= {name}
        return [Open(name, found.filter, found.text)]

    def _check_privacy(self, filters: tuple[Filter, ...]) -> None:
        """A filter that asks only for private kinds needs a proven identity to deliver to."""
        if self.identities:
            return
        for found in filters:
            if found.kinds and found.kinds <= kinds.PRIVATE:
                raise AuthRequired("these kinds go only to their recipient", field="filter.kinds")

    def _authenticate(self, event: Event, now: int) -> list[Effect]:
        try:
            self._check_auth(event, now)
        except HanseError as exc:
            return self._refuse(Send(message.ok(event.id, False, exc.wire)))
        accepted = Send(message.ok(event.id, True))
        if event.pubkey in self.identities:
            return [accepted]  # announced once: it leaves once, when the connection ends
        self.identities |= {event.pubkey}
        return [Authenticated(event), accepted]

    def _check_auth(self, event: Event, now: int) -> None:
        self._take_token(now)
        if event.kind != kinds.CLIENT_AUTH:
            raise Invalid.at("event.kind", f"must be {kinds.CLIENT_AUTH}")
        if abs(event.created_at - now) > AUTH_WINDOW_S:
            raise Stale(f"is over {AUTH_WINDOW_S} s from now", field="event.created_at")
        if event.tag("challenge") != self._challenge:
            raise Invalid.at("event.tags.challenge", "is not this connection's challenge")
        if host_of(event.tag("relay") or "") not in self._hosts:
            raise Invalid.at("event.tags.relay", "is not this relay's URL")
        fresh = event.pubkey not in self.identities
        if fresh and len(self.identities) >= self._limits.identities_max:
            raise Invalid.at("event.pubkey", "too many identities on this connection")
        check_event(event)


def host_of(url: str) -> str:
    """`host[:port]` of a WebSocket or HTTP URL, lower case, default port left out."""
    scheme, separator, rest = url.lower().partition("://")
    if not separator:
        return ""
    host = rest.split("/", 1)[0].split("?", 1)[0]
    default = {"ws": ":80", "http": ":80", "wss": ":443", "https": ":443"}.get(scheme)
    return host.removesuffix(default) if default else ""
