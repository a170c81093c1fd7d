"""What the operator allowed and denied: keys, event ids, kinds, addresses. Policies read it.

It changes only in `moderation.py`.
"""

from collections.abc import Iterator

from hanse.protocol.keys import PublicKey

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
        self.allowed_kinds: dict[int, str] = {}
        self.denied_addresses: dict[str, str] = {}

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

    def _item(self, name: str, item: str) -> str | int:
        return int(item) if name.endswith("_kinds") else item
