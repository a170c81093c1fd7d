"""Looking a handle up, at its own domain, both ways, and on to where its key has moved.

- the domain names the key: its nostr.json has the name (NIP-05)
- the key names the handle: its profile (kind 0) says so in `nip05`, or a claim it signed (31411)
- `moved` by the same key leads on, at most FORWARDS_MAX times and never in a circle; whoever stands
  at the end must be the key that left, or the one that speaks for it now

A statement that is not this key's about this handle counts for nothing.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from hanse.errors import HanseError, Invalid, NotFound, RateLimited
from hanse.identity.service import Names
from hanse.identity.statement import FRESH_S, Statement, read_statement
from hanse.identity.store import Domains
from hanse.ports import Clock
from hanse.protocol.event import Event, parse_event
from hanse.protocol.handle import Address, nostr_json, read_handle
from hanse.protocol.keys import PublicKey, is_hex
from hanse.protocol.peer import URL_MAX
from hanse.protocol.session import host_of

FORWARDS_MAX: Final = 3
RELAYS_MAX: Final = 8
CACHED_MAX: Final = 1000
CACHED_S: Final = 300
REFUSED_S: Final = 30
"""How long an answer, a refusal, is told again without asking."""

AT_ONCE_MAX: Final = 16
AT_ONCE_OF_ONE: Final = 4


class Resolved(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a handle. `handle` is where the way ended; it began at `asked` and went by
    `forwards`. `named_by` says how the key names the handle, if it does; `profile` is the handle
    that its profile names, whichever that is."""

    asked: str
    handle: str
    pubkey: PublicKey
    relays: tuple[str, ...]
    forwards: tuple[str, ...]
    named_by: Literal["profile", "claim", "none"]
    profile: str
    checked_s: int

    @property
    def both(self) -> bool:
        """Whether domain and key name each other."""
        return self.named_by != "none"

    def shown(self) -> dict[str, Any]:
        """As the doors tell it."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found | {"domain_names_key": True, "key_names_handle": self.both}


class _Said(msgspec.Struct, frozen=True):
    """One domain's answer, read."""

    pubkey: PublicKey
    relays: tuple[str, ...]
    statement: Statement | None


class Resolver:
    """Looks handles up for others, remembers for a while, and asks for few at once."""

    def __init__(
        self,
        *,
        names: Names,
        domains: Domains,
        clock: Clock,
        hosts: frozenset[str],
        url: str,
    ) -> None:
        self._names = names
        self._domains = domains
        self._clock = clock
        self._hosts = hosts
        self._url = url
        self._cache: dict[str, tuple[int, Resolved | HanseError]] = {}
        self._running: dict[PublicKey, int] = {}

    async def find(self, handle: Address, who: PublicKey) -> Resolved:
        """Who a handle is, asked by an operator. Raises NotFound, Unavailable, Invalid,
        RateLimited."""
        now_s, key = self._clock.now_s(), str(handle)
        until_s, known = self._cache.get(key, (0, None))
        if until_s <= now_s or known is None:
            known = await self._asked(handle, who)
            # What is our own is cheap to ask, and changes under the eyes of who asks.
            if handle.domain not in self._hosts:
                lasts_s = CACHED_S if isinstance(known, Resolved) else REFUSED_S
                self._remember(key, now_s + lasts_s, known)
        if isinstance(known, HanseError):
            raise type(known)(known.reason, field=known.field, hint=known.hint)
        return known

    async def _asked(self, handle: Address, who: PublicKey) -> Resolved | HanseError:
        running = self._running.get(who, 0)
        if running >= AT_ONCE_OF_ONE or sum(self._running.values()) >= AT_ONCE_MAX:
            raise RateLimited("too many look-ups at once: wait 1 s", field="handle")
        self._running[who] = running + 1
        try:
            return await self._followed(handle)
        except HanseError as exc:
            return exc
        finally:
            self._running[who] -= 1
            if not self._running[who]:
                del self._running[who]

    def _remember(self, key: str, until_s: int, found: Resolved | HanseError) -> None:
        self._cache.pop(key, None)
        while len(self._cache) >= CACHED_MAX:
            del self._cache[next(iter(self._cache))]
        self._cache[key] = (until_s, found)

    # --- the way ------------------------------------------------------------------------------

    async def _followed(self, asked: Address) -> Resolved:
        way = [asked]
        left: PublicKey | None = None
        while True:
            here = way[-1]
            said = await self._said(here)
            now = self._names.current
            if left is not None and now(said.pubkey) != now(left):
                raise Invalid.at("handle", f"{here} is another key's than the one that moved there")
            moved = said.statement.moved if said.statement is not None else None
            if moved is None:
                return await self._judged(way, said)
            if moved in way:
                raise Invalid.at("handle", f"{here} leads back to {moved}")
            if len(way) > FORWARDS_MAX:
                raise Invalid.at("handle", f"leads on more than {FORWARDS_MAX} times")
            left = said.pubkey
            way.append(moved)

    async def _said(self, handle: Address) -> _Said:
        if handle.domain in self._hosts:
            found = await self._names.answer(handle.name)
            document: Any = nostr_json(found, [self._url])
        else:
            document = await self._domains.names(handle.domain, handle.name)
        return read_document(document, handle, self._clock.now_s())

    async def _judged(self, way: list[Address], said: _Said) -> Resolved:
        handle = way[-1]
        profile = await self._names.profile(said.pubkey)
        named = _handle_in(profile)
        if named != handle:
            # Ours may be old, or none: those who serve the handle know better.
            away = tuple(url for url in said.relays if host_of(url) not in self._hosts)
            other = await self._domains.profile(said.pubkey, away) if away else None
            if other is not None and (profile is None or other.created_at > profile.created_at):
                named = _handle_in(other)
        by: Literal["profile", "claim", "none"] = "none"
        if named == handle:
            by = "profile"
        elif said.statement is not None:
            by = "claim"
        return Resolved(
            asked=str(way[0]),
            handle=str(handle),
            pubkey=said.pubkey,
            relays=said.relays,
            forwards=tuple(str(one) for one in way[1:]),
            named_by=by,
            profile=str(named or ""),
            checked_s=self._clock.now_s(),
        )


def read_document(document: Any, handle: Address, now_s: int) -> _Said:
    """What a NIP-05 document says of a handle. Raises NotFound, Invalid."""
    names = document.get("names") if isinstance(document, Mapping) else None
    if not isinstance(names, Mapping):
        raise Invalid.at("handle", f"{handle.domain} answers without `names`")
    pubkey = names.get(handle.name)
    if pubkey is None:
        raise NotFound(f"{handle.domain} knows no {handle.name!r}", field="handle")
    if not isinstance(pubkey, str) or not is_hex(pubkey, 64):
        raise Invalid.at("handle", f"{handle.domain} names no key in lower-case hex")
    key = PublicKey(pubkey)
    hints = document.get("relays")
    listed = hints.get(pubkey) if isinstance(hints, Mapping) else None
    relays = (
        tuple(dict.fromkeys(url for url in listed if _is_relay(url)))
        if (isinstance(listed, list))
        else ()
    )
    statements = document.get("statements")
    raw = statements.get(handle.name) if isinstance(statements, Mapping) else None
    return _Said(key, relays[:RELAYS_MAX], _statement(raw, key, handle, now_s))


def _is_relay(url: Any) -> bool:
    return (
        isinstance(url, str)
        and url.startswith(("wss://", "ws://"))
        and len(url) <= URL_MAX
        and url.isascii()
        and url.isprintable()
        and host_of(url) != ""
    )


def _statement(raw: Any, pubkey: PublicKey, handle: Address, now_s: int) -> Statement | None:
    if not isinstance(raw, Mapping):
        return None
    try:
        found = read_statement(parse_event(msgspec.json.encode(raw)))
    except (HanseError, TypeError, ValueError):
        return None
    ours = found.event.pubkey == pubkey and found.handle == handle
    return found if ours and found.event.created_at <= now_s + FRESH_S else None


def _handle_in(profile: Event | None) -> Address | None:
    """The `nip05` of a profile."""
    if profile is None:
        return None
    try:
        found = msgspec.json.decode(profile.content)
        text = found.get("nip05") if isinstance(found, dict) else None
        return read_handle(text, "nip05") if isinstance(text, str) else None
    except (HanseError, msgspec.MsgspecError, ValueError, RecursionError):
        return None
