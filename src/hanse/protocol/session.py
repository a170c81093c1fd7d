"""One client's conversation with a relay, without I/O: text in, effects out (NIP-01, NIP-42).

    Session.receive(text, now) -> [Effect, …]

    Send    write this text to the client        Query    answer stored events for a subscription
    Store   check, admit and append this event   Watch    deliver new events for a subscription
    Close   end the connection                   Unwatch  stop doing so

Who the client has proved to be, which subscriptions are open, and the limits on both live here.
"""

import msgspec

from hanse.errors import AuthRequired, HanseError, Invalid, Stale
from hanse.protocol import kinds, message
from hanse.protocol.event import Event, check_event
from hanse.protocol.filter import Filter
from hanse.protocol.keys import PublicKey

AUTH_WINDOW_S = 600
"""NIP-42: "within around 10 minutes" of now."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds on one connection, shown in NIP-11."""

    subscriptions_max: int = 64
    identities_max: int = 16
    refusals_max: int = 200


class Send(msgspec.Struct, frozen=True, gc=False):
    text: bytes


class Store(msgspec.Struct, frozen=True, gc=False):
    raw: bytes


class Query(msgspec.Struct, frozen=True):
    subscription: str
    filters: tuple[Filter, ...]


class Watch(msgspec.Struct, frozen=True):
    subscription: str
    filters: tuple[Filter, ...]


class Unwatch(msgspec.Struct, frozen=True):
    subscription: str


class Authenticated(msgspec.Struct, frozen=True):
    """The client proved a new key; `event` may carry its owner's attestation."""

    event: Event


class Close(msgspec.Struct, frozen=True):
    reason: str


Effect = Send | Store | Query | Watch | Unwatch | Authenticated | Close


class Session:
    """State of one connection: who it has proved to be and what it subscribed to.

    `hosts` are the `host[:port]` names that reach this relay; an AUTH for any other is refused,
    or a relay in the middle could use its client's answer here.
    """

    def __init__(self, challenge: str, hosts: frozenset[str], limits: Limits) -> None:
        self._challenge = challenge
        self._hosts = hosts
        self._limits = limits
        self._refusals = 0
        self.identities: set[PublicKey] = set()
        self.subscriptions: set[str] = set()

    def greet(self) -> list[Effect]:
        """What to say first: the NIP-42 challenge."""
        return [Send(message.challenge(self._challenge))]

    def receive(self, text: bytes | str, now: int) -> list[Effect]:
        """The effects of one message. Never raises for what a client sends. `now` in seconds."""
        try:
            found = message.parse_client_message(text)
        except message.BadRequest as exc:
            return self._refuse_request(exc.subscription, exc.wire)
        except Invalid as exc:
            return self._refuse(Send(message.notice(exc.wire)))
        match found:
            case message.Publish(raw=raw):
                return [Store(raw)]
            case message.Request(subscription=name, filters=filters):
                return self._open(name, filters)
            case message.Drop(subscription=name):
                self.subscriptions.discard(name)
                return [Unwatch(name)]
            case message.Authenticate(event=event):
                return self._authenticate(event, now)

    def _refuse(self, answer: Effect) -> list[Effect]:
        # A client that only sends rubbish costs us a parse each time: after so many it goes.
        self._refusals += 1
        if self._refusals > self._limits.refusals_max:
            return [answer, Close("too many messages that could not be read")]
        return [answer]

    def _refuse_request(self, name: str, text: str) -> list[Effect]:
        # CLOSED says the name is free: an older subscription that bears it must end too.
        ended: list[Effect] = [Unwatch(name)] if name in self.subscriptions else []
        self.subscriptions.discard(name)
        return ended + self._refuse(Send(message.closed(name, text)))

    def _open(self, name: str, filters: tuple[Filter, ...]) -> list[Effect]:
        fresh = name not in self.subscriptions
        if fresh and len(self.subscriptions) >= self._limits.subscriptions_max:
            text = f"rate-limited: at most {self._limits.subscriptions_max} subscriptions"
            return self._refuse_request(name, text)
        try:
            self._check_privacy(filters)
        except HanseError as exc:
            return self._refuse_request(name, exc.wire)
        self.subscriptions.add(name)
        return [Watch(name, filters), Query(name, filters)]

    def _check_privacy(self, filters: tuple[Filter, ...]) -> None:
        """A filter that asks only for private kinds needs a proven identity to deliver to."""
        for found in filters:
            if found.kinds and found.kinds <= kinds.PRIVATE and not self.identities:
                raise AuthRequired("these kinds go only to their recipient", field="filter.kinds")

    def _authenticate(self, event: Event, now: int) -> list[Effect]:
        try:
            self._check_auth(event, now)
        except HanseError as exc:
            return self._refuse(Send(message.ok(event.id, False, exc.wire)))
        accepted = Send(message.ok(event.id, True))
        if event.pubkey in self.identities:
            return [accepted]  # announced once: it leaves once, when the connection ends
        self.identities.add(event.pubkey)
        return [Authenticated(event), accepted]

    def _check_auth(self, event: Event, now: int) -> None:
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
