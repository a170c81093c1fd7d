"""What the operator allowed and denied: keys, event ids, kinds, addresses. Policies read it.

It changes only in `moderation.py`.
"""

from collections.abc import Iterator
from typing import Final

from hanse.protocol import kinds
from hanse.protocol.keys import PublicKey
from hanse.servers.relay.rules import Kinds

BACK: Final = frozenset({kinds.DELETION, kinds.VANISH})
"""What takes back is taken whatever an allow-list has: who may publish may change their mind."""

Entry = tuple[str, str, str]
"""(list, item, reason) as it is stored."""


class Lists:
    """Each list: item → reason."""

    def __init__(self) -> None:
        self.denied_keys: dict[PublicKey, str] = {}
        self.allowed_keys: dict[PublicKey, str] = {}
        self.denied_events: dict[str, str] = {}
        self.allowed_events: dict[str, str] = {}
        self.denied_kinds: dict[int, str] = {}
        # Not `allowed_kinds`: older versions kept kinds under that name that allowed nothing.
        self.only_kinds: dict[int, str] = {}
        self.denied_addresses: dict[str, str] = {}
        self.granted_methods: dict[str, str] = {}
        """`PUBKEY METHOD`: who else may do what (NIP-86)."""

    def entries(self) -> Iterator[Entry]:
        """All of them."""
        for name, found in vars(self).items():
            for item, reason in found.items():
                yield name, str(item), reason

    def put(self, entry: Entry) -> None:
        """Add one. A list of a newer version is left alone."""
        name, item, reason = entry
        if name in vars(self):
            getattr(self, name)[self._item(name, item)] = reason

    def remove(self, name: str, item: str) -> None:
        """Take one off, if it is there."""
        getattr(self, name).pop(self._item(name, item), None)

    def takes(self, kind: int, rules: Kinds) -> bool:
        """Whether others' events of this kind are taken, by the settings and these lists."""
        if kind in self.denied_kinds or kind in rules.deny:
            return False
        if not (rules.allow or self.only_kinds):
            return True
        return kind in rules.allow or kind in self.only_kinds or kind in BACK

    def allowed(self, rules: Kinds) -> list[int] | None:
        """The allow-list in force, None if there is none."""
        if not (rules.allow or self.only_kinds):
            return None
        return sorted((rules.allow | set(self.only_kinds)) - rules.deny - set(self.denied_kinds))

    def denied(self, rules: Kinds) -> list[int]:
        """The kinds that are not taken, whatever is allowed."""
        return sorted(rules.deny | set(self.denied_kinds))

    def _item(self, name: str, item: str) -> str | int:
        return int(item) if name.endswith("_kinds") else item
