"""Managing the relay over HTTP (NIP-86): POST / with application/nostr+json+rpc.

Each request is signed for itself (NIP-98, with the body's hash) by the operator, an admin, or a key
to which one of these granted the method; a bearer token is not enough. What is wrong with a method
or its parameters is told in JSON's `error`.
"""

import ipaddress
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, Protocol

import msgspec
from fastapi import Request
from fastapi.responses import Response

from hanse.errors import AuthRequired, HanseError, Invalid, NotFound, Restricted
from hanse.protocol.address import read_public_key
from hanse.protocol.event import event_id
from hanse.protocol.keys import PublicKey
from hanse.protocol.kinds import KIND_MAX
from hanse.servers.api.reply import Callers, decoded, json, read

SUPPORTED = "supportedmethods"
OWNERS = frozenset({"assignmethod", "unassignmethod", "listmethodassignees"})
"""Only the operator and the admins say who may do what."""

RPC_JSON = "application/nostr+json+rpc"
REASON_MAX = 1000
METHOD_MAX = 64


class Lists(Protocol):
    """What was decided: item → reason."""

    @property
    def denied_keys(self) -> dict[PublicKey, str]:
        """Banned keys."""

    @property
    def allowed_keys(self) -> dict[PublicKey, str]:
        """Allowed keys."""

    @property
    def denied_events(self) -> dict[str, str]:
        """Banned events."""

    @property
    def allowed_events(self) -> dict[str, str]:
        """Events that may be here."""

    @property
    def denied_addresses(self) -> dict[str, str]:
        """Blocked addresses."""


class Moderation(Protocol):
    """Who decides and remembers; see `servers/relay/moderation.py`."""

    @property
    def lists(self) -> Lists:
        """What was decided."""

    async def deny_key(self, key: PublicKey, reason: str) -> None:
        """Take nothing more by a key, and remove what is here."""

    async def allow_key(self, key: PublicKey, reason: str) -> None:
        """Count a key as a member."""

    async def deny_event(self, id: str, reason: str) -> None:
        """Remove an event, and do not take it again."""

    async def allow_event(self, id: str, reason: str) -> None:
        """An event may be here."""

    async def deny_kind(self, kind: int) -> None:
        """Take no more of a kind."""

    async def allow_kind(self, kind: int) -> None:
        """Take a kind."""

    async def deny_address(self, address: str, reason: str) -> None:
        """Take nothing from an address."""

    async def grant(self, key: PublicKey, method: str) -> None:
        """Let a key call a method."""

    def granted(self) -> dict[PublicKey, list[str]]:
        """Who may call which methods."""

    async def forget(self, name: str, item: str) -> None:
        """Take an item off a list."""

    async def rename(self, word: str, text: str) -> None:
        """Change the relay's `name`, `description` or `icon`."""

    async def undecided(self) -> list[tuple[str, str]]:
        """(id, reason) of reported events that nobody decided on."""

    def kinds(self) -> list[int]:
        """The allow-list in force; empty if there is none."""

    def denied_kinds(self) -> list[int]:
        """The kinds that are denied."""


class Asked(msgspec.Struct, frozen=True):
    """The body of a request."""

    method: Annotated[str, msgspec.Meta(max_length=METHOD_MAX)]
    params: list[Any] = []


Method = Callable[[list[Any]], Awaitable[Any]]


class Management:
    """The methods over what they change."""

    def __init__(
        self, *, moderation: Moderation, callers: Callers, admins: frozenset[PublicKey]
    ) -> None:
        self._moderation = moderation
        self._callers = callers
        self._admins = admins
        self._methods: dict[str, Method] = {
            "banpubkey": self._ban_key,
            "unbanpubkey": lambda found: self._forget("denied_keys", _key(found)),
            "listbannedpubkeys": lambda _: self._list("denied_keys", "pubkey"),
            "allowpubkey": self._allow_key,
            "unallowpubkey": lambda found: self._forget("allowed_keys", _key(found)),
            "listallowedpubkeys": lambda _: self._list("allowed_keys", "pubkey"),
            "listeventsneedingmoderation": self._undecided,
            "allowevent": self._allow_event,
            "banevent": self._ban_event,
            "unallowevent": lambda found: self._forget("allowed_events", _event(found)),
            "unbanevent": lambda found: self._forget("denied_events", _event(found)),
            "listbannedevents": lambda _: self._list("denied_events", "id"),
            "listallowedevents": lambda _: self._list("allowed_events", "id"),
            "changerelayname": lambda found: self._rename("name", found),
            "changerelaydescription": lambda found: self._rename("description", found),
            "changerelayicon": lambda found: self._rename("icon", found),
            "allowkind": self._allow_kind,
            "disallowkind": self._deny_kind,
            "listallowedkinds": self._kinds,
            "listdisallowedkinds": self._denied_kinds,
            "blockip": self._block,
            "unblockip": lambda found: self._forget("denied_addresses", _address(found)),
            "listblockedips": lambda _: self._list("denied_addresses", "ip"),
            "assignmethod": self._grant,
            "unassignmethod": self._ungrant,
            "listmethodassignees": self._granted,
        }

    def add_to(self, app: Any) -> None:
        """See `Routes`."""
        app.add_api_route("/", self._manage, methods=["POST"], summary="Manage the relay (NIP-86)")

    async def _manage(self, request: Request) -> Response:
        body = await read(request)
        if request.headers.get("content-type", "").partition(";")[0].strip() != RPC_JSON:
            raise Invalid.at("Content-Type", f"must be {RPC_JSON}")
        may = await self._permitted(request, body)
        try:
            return json({"result": await self.perform(decoded(body, Asked), may)})
        except HanseError as exc:
            return json({"result": None, "error": exc.text})

    async def _permitted(self, request: Request, body: bytes) -> list[str]:
        """The methods that the sender may call. Raises AuthRequired or Restricted."""
        if not request.headers.get("authorization", "").strip().lower().startswith("nostr "):
            raise AuthRequired("sign each request (NIP-98)", field="Authorization")
        # The gate compares the payload's hash whenever there is a body, and here there must be one.
        if not body:
            raise AuthRequired("there is nothing that the signature could be for", field="body")
        who = await self._callers.who(request, body)
        if who is not None and (who.agent in self._admins or self._callers.is_operator(who.agent)):
            return [SUPPORTED, *self._methods]
        granted = self._moderation.granted().get(who.agent) if who is not None else None
        if who is None or not granted:
            raise Restricted("only this relay's operator may do this")
        self._callers.stays(request, who)
        return [SUPPORTED, *granted]

    async def perform(self, asked: Asked, may: Sequence[str]) -> Any:
        """Run one method, if it is one that the sender may call. Raises HanseError."""
        if asked.method == SUPPORTED:
            return list(may)
        method = self._methods.get(asked.method)
        if method is None:
            raise NotFound("no such method", field="method", hint=f"ask for {SUPPORTED}")
        if asked.method not in may:
            raise Restricted("was not granted to you", field="method", hint=f"ask for {SUPPORTED}")
        is_helper = OWNERS.isdisjoint(may)
        if is_helper and asked.method == "banpubkey" and _key(asked.params) in self._admins:
            raise Restricted("is of those who grant methods here", field="pubkey")
        return await method(asked.params)

    # --- methods ------------------------------------------------------------------------------

    async def _ban_key(self, params: list[Any]) -> bool:
        await self._moderation.deny_key(_key(params), _reason(params))
        return True

    async def _allow_key(self, params: list[Any]) -> bool:
        await self._moderation.allow_key(_key(params), _reason(params))
        return True

    async def _ban_event(self, params: list[Any]) -> bool:
        await self._moderation.deny_event(_event(params), _reason(params))
        return True

    async def _allow_event(self, params: list[Any]) -> bool:
        await self._moderation.allow_event(_event(params), _reason(params))
        return True

    async def _allow_kind(self, params: list[Any]) -> bool:
        await self._moderation.allow_kind(_kind(params))
        return True

    async def _deny_kind(self, params: list[Any]) -> bool:
        await self._moderation.deny_kind(_kind(params))
        return True

    async def _block(self, params: list[Any]) -> bool:
        await self._moderation.deny_address(_address(params), _reason(params))
        return True

    async def _grant(self, params: list[Any]) -> list[Any]:
        key, method = _key_and_method(params)
        if method not in self._methods or method in OWNERS:
            return [False, f"{method} is no method that can be granted"]
        await self._moderation.grant(key, method)
        return [True, ""]

    async def _ungrant(self, params: list[Any]) -> list[Any]:
        key, method = _key_and_method(params)
        await self._forget("granted_methods", f"{key} {method}")
        return [True, ""]

    async def _granted(self, _params: list[Any]) -> list[dict[str, Any]]:
        granted = self._moderation.granted()
        return [{"pubkey": key, "methods": methods} for key, methods in granted.items()]

    async def _forget(self, name: str, item: str) -> bool:
        await self._moderation.forget(name, item)
        return True

    async def _rename(self, word: str, params: list[Any]) -> bool:
        await self._moderation.rename(word, _text(params, word))
        return True

    async def _list(self, name: str, key: str) -> list[dict[str, str]]:
        found: dict[str, str] = getattr(self._moderation.lists, name)
        return [{key: item, "reason": reason} for item, reason in sorted(found.items())]

    async def _undecided(self, _params: list[Any]) -> list[dict[str, str]]:
        found = await self._moderation.undecided()
        return [{"id": id, "reason": reason} for id, reason in found]

    async def _kinds(self, _params: list[Any]) -> list[int]:
        return self._moderation.kinds()

    async def _denied_kinds(self, _params: list[Any]) -> list[int]:
        return self._moderation.denied_kinds()


# --- parameters -------------------------------------------------------------------------------


def _text(params: list[Any], name: str) -> str:
    if not params or not isinstance(params[0], str):
        raise Invalid.at(name, "must be the first parameter, a text")
    return params[0]


def _reason(params: list[Any]) -> str:
    found = params[1] if len(params) > 1 and params[1] is not None else ""
    if not isinstance(found, str) or len(found) > REASON_MAX:
        raise Invalid.at("reason", f"must be a text of at most {REASON_MAX} characters")
    return found


def _key(params: list[Any]) -> PublicKey:
    return read_public_key(_text(params, "pubkey"), "pubkey")


def _event(params: list[Any]) -> str:
    return event_id(_text(params, "id"), "id")


def _key_and_method(params: list[Any]) -> tuple[PublicKey, str]:
    if len(params) < 2 or not isinstance(params[1], str) or len(params[1]) > METHOD_MAX:
        raise Invalid.at("method", "must be the second parameter, a method's name")
    return _key(params), params[1]


def _kind(params: list[Any]) -> int:
    found = params[0] if params else None
    if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found <= KIND_MAX:
        raise Invalid.at("kind", f"must be 0 to {KIND_MAX}")
    return found


def _address(params: list[Any]) -> str:
    try:
        found = ipaddress.ip_address(_text(params, "ip").strip())
    except ValueError as exc:
        raise Invalid.at("ip", "must be one IPv4 or IPv6 address") from exc
    # As connections spell it: IPv4 that comes as IPv6 is IPv4.
    return str(getattr(found, "ipv4_mapped", None) or found)
