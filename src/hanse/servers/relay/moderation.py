"""The operator's decisions: changes the lists and the relay's own words, keeps them, and removes
what is no longer wanted. NIP-86 comes in through `servers/api/management.py`."""

from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol

from hanse.errors import Invalid, NotFound, TooLarge
from hanse.ports import Clock, Log, Row
from hanse.protocol import kinds
from hanse.protocol.event import parse_event
from hanse.protocol.filter import Filter
from hanse.protocol.keys import PublicKey, is_hex
from hanse.servers.relay.lists import Entry, Lists
from hanse.servers.relay.rules import Kinds, check_allowed, check_denied
from hanse.servers.relay.words import CHANGED, check_word

ENTRIES_MAX = 100_000
"""Entries of one list: they are in memory, too."""

REPORTS_MAX = 500
"""The newest reports that are looked through for events to decide on."""

REASON_MAX = 500
"""Characters of a report that are shown."""

WORDS = "relay"
"""The list that holds the relay's own name, description and icon."""


class Store(Protocol):
    """What keeps entries over a restart."""

    async def load(self) -> list[Entry]:
        """All of them."""

    async def put(self, entry: Entry, remove_from: str = "") -> None:
        """Keep one, in place of an older one for the same list and item; in the same commit take
        the item off the list `remove_from`."""

    async def remove(self, name: str, item: str) -> None:
        """Keep it no longer."""


class Erase(Protocol):
    """Removes events from the log."""

    async def __call__(self, *, ids: Sequence[str] = (), pubkey: PublicKey | None = None) -> int:
        """How many went."""


class Moderation:
    """Decisions: first on disk, then in force, then what is stored already is removed."""

    def __init__(
        self,
        *,
        store: Store,
        node: PublicKey,
        own: Collection[PublicKey],
        lists: Lists,
        log: Log,
        erase: Erase,
        clock: Clock,
        info: dict[str, Any],
        blocked: Callable[[str], None],
        rules: Kinds,
    ) -> None:
        """`own`: the keys of the `node`, of its operator and their agents."""
        self.lists = lists
        self._node = node
        self._own = own
        self._store = store
        self._log = log
        self._erase = erase
        self._clock = clock
        self._info = info
        self._restricted = bool(info["limitation"]["restricted_writes"])
        self._blocked = blocked
        self._rules = rules

    async def refresh(self) -> None:
        """Read what was decided before, or at another node of the cluster. Call once before
        anything enters."""
        before = set(self.lists.entries())  # what is decided here meanwhile is left alone
        kept = set(await self._store.load())
        items = {(name, item) for name, item, _ in kept}
        for name, item, _ in before:
            if (name, item) not in items:
                self.lists.remove(name, item)
        for entry in kept - before:
            if entry[0] == WORDS:
                self._say(entry[1], entry[2])
                continue
            self.lists.put(entry)
            if entry[0] == "denied_addresses":
                self._blocked(entry[1])
        self._say_kinds()

    # --- decisions ----------------------------------------------------------------------------

    async def deny_key(self, key: PublicKey, reason: str) -> None:
        """Take nothing more by this key, and remove what is here. Raises Invalid for one of this
        node's: its receipts would go, and nothing brings them back."""
        if key in self._own:
            raise Invalid.at("pubkey", "is this node's own, its operator's or one of their agents'")
        await self._put("denied_keys", key, reason, "allowed_keys")
        await self._erase(pubkey=key)

    async def allow_key(self, key: PublicKey, reason: str) -> None:
        """Count it as a member."""
        await self._put("allowed_keys", key, reason, "denied_keys")

    async def deny_event(self, id: str, reason: str) -> None:
        """Remove it, and do not take it again. Raises Invalid for what this node says itself."""
        found = await self._log.event(id)
        if found is not None and found.pubkey == self._node:
            raise Invalid.at("id", "is this node's own word, a receipt say: that stays")
        await self._put("denied_events", id, reason, "allowed_events")
        await self._erase(ids=[id])

    async def allow_event(self, id: str, reason: str) -> None:
        """It may be here; reports of it are settled."""
        await self._put("allowed_events", id, reason, "denied_events")

    async def deny_kind(self, kind: int) -> None:
        """Take no more of this kind; what is here stays. An allow-list that was begun here ends
        with its last kind. Raises Invalid."""
        check_denied(kind)
        if self._rules.allow and self.lists.allowed(self._rules) == [kind]:
            raise Invalid.at("kind", f"{kind} is the last one that is taken: nothing would be")
        await self._put("denied_kinds", str(kind), "", "only_kinds")
        self._say_kinds()

    async def allow_kind(self, kind: int) -> None:
        """Put this kind on the allow-list: the first one begins it, and others are taken no more.
        While there is none, a kind that was denied here is only taken again. Raises Invalid."""
        check_allowed(kind)
        if kind in self._rules.deny:
            raise Invalid.at("kind", f"{kind} is denied by the node's settings (--deny-kind)")
        is_open = self.lists.allowed(self._rules) is None
        if kind in self._rules.allow or (is_open and kind in self.lists.denied_kinds):
            await self.forget("denied_kinds", str(kind))
        else:
            await self._put("only_kinds", str(kind), "", "denied_kinds")
        self._say_kinds()

    async def deny_address(self, address: str, reason: str) -> None:
        """Take nothing from there, and end its connections."""
        await self._put("denied_addresses", address, reason)
        self._blocked(address)

    async def grant(self, key: PublicKey, method: str) -> None:
        """Let a key call a method of the relay's management."""
        await self._put("granted_methods", f"{key} {method}", "")

    def granted(self) -> dict[PublicKey, list[str]]:
        """Who may call which methods. Nobody who is banned."""
        found: dict[PublicKey, list[str]] = {}
        for item in sorted(self.lists.granted_methods):
            key, _, method = item.partition(" ")
            if key not in self.lists.denied_keys:
                found.setdefault(PublicKey(key), []).append(method)
        return found

    async def forget(self, name: str, item: str) -> None:
        """Take an item off a list. That it is not there is no error (NIP-86 answers true)."""
        await self._store.remove(name, item)
        self.lists.remove(name, item)

    async def rename(self, word: str, text: str) -> None:
        """Change `name`, `description` or `icon` in what the relay says of itself, whatever the
        settings say. Raises NotFound, TooLarge or Invalid."""
        if word not in CHANGED:
            raise NotFound("the relay has no such word", field=word)
        check_word(word, text)
        await self._store.put((WORDS, word, text))
        self._say(word, text)

    def _say(self, word: str, text: str) -> None:
        if text:
            self._info[word] = text
        else:
            self._info.pop(word, None)

    async def _put(self, name: str, item: str, reason: str, remove_from: str = "") -> None:
        if len(getattr(self.lists, name)) >= ENTRIES_MAX:
            raise TooLarge(f"has {ENTRIES_MAX} entries, the most it holds", field=name)
        await self._store.put((name, item, reason), remove_from)
        self.lists.put((name, item, reason))
        if remove_from:
            self.lists.remove(remove_from, item)

    # --- reading ------------------------------------------------------------------------------

    def kinds(self) -> list[int]:
        """The allow-list in force: the settings' kinds and those allowed since. Empty if there is
        none, and all kinds are taken but those denied."""
        return self.lists.allowed(self._rules) or []

    def denied_kinds(self) -> list[int]:
        """The kinds that the settings or a decision deny."""
        return self.lists.denied(self._rules)

    def _say_kinds(self) -> None:
        allowed, denied = self.lists.allowed(self._rules), self.denied_kinds()
        limitation = self._info["limitation"]
        for name, found in (("allowed_kinds", allowed), ("denied_kinds", denied)):
            limitation.pop(name, None)
            if found:
                limitation[name] = found
        limitation["restricted_writes"] = self._restricted or allowed is not None

    async def undecided(self) -> list[tuple[str, str]]:
        """(id, reason) of stored events that the newest reports (NIP-56) are about and that nobody
        decided on."""
        found: dict[str, str] = {}
        for _, _, _, json in await self._rows(Filter(kinds=frozenset({kinds.REPORT}))):
            event = parse_event(json)
            for tag in event.tags:
                if len(tag) > 1 and tag[0] == "e" and is_hex(tag[1], 64):
                    reason = ": ".join(part for part in ((*tag, "")[2], event.content) if part)
                    found.setdefault(tag[1], reason[:REASON_MAX])
        lists = self.lists
        open_ = [
            id for id in found if id not in lists.denied_events and id not in lists.allowed_events
        ]
        here: set[str] = set()
        for start in range(0, len(open_), REPORTS_MAX):
            ids = Filter(ids=frozenset(open_[start : start + REPORTS_MAX]))
            here |= {id.hex() for _, _, id, _ in await self._rows(ids)}
        return [(id, found[id]) for id in open_ if id in here]

    async def _rows(self, asked: Filter) -> list[Row]:
        found = await self._log.query([asked], limit=REPORTS_MAX, now_s=self._clock.now_s())
        return found.rows
