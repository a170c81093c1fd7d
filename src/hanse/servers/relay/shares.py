"""What clients share of the relay's memory: the values in the filters of open subscriptions.

Each is kept, and looked up live, for about 250 bytes. So a connection may hold so many, an address
so many over all its connections, and all clients together so many.
"""

from hanse.errors import RateLimited
from hanse.servers.relay.addresses import counted, is_loopback


class Shares:
    """Counts values by address. Loopback has no bound of its own: a proxy there is everybody."""

    def __init__(self, of_one_max: int, of_address_max: int, of_all_max: int) -> None:
        self.of_one_max = of_one_max
        self.of_address_max = of_address_max
        self.of_all_max = of_all_max
        self.taken = 0
        self.by_site: dict[str, int] = {}


class Share:
    """One connection's part of them."""

    __slots__ = ("_all", "_is_bounded", "_site", "taken")

    def __init__(self, all: Shares, address: str) -> None:
        self._all = all
        self._site = counted(address)
        self._is_bounded = not is_loopback(address)
        self.taken = 0

    def take(self, count: int) -> None:
        """Take so many. Raises RateLimited, and takes none, if there are not so many left."""
        all, site = self._all, self._site
        of_site = all.by_site.get(site, 0) + count
        if self.taken + count > all.of_one_max:
            raise RateLimited(
                f"over {all.of_one_max} values in all filters", hint="close some first"
            )
        if of_site > all.of_address_max and self._is_bounded:
            most = f"{all.of_address_max} values in the filters of one address"
            raise RateLimited(f"over {most}", hint="close some first")
        if all.taken + count > all.of_all_max:
            raise RateLimited("all clients' filters have too many values", hint="try again later")
        self.taken += count
        all.taken += count
        all.by_site[site] = of_site

    def leave(self, count: int) -> None:
        """Give so many back."""
        all, site = self._all, self._site
        self.taken -= count
        all.taken -= count
        left = all.by_site.get(site, 0) - count
        if left > 0:
            all.by_site[site] = left
        else:
            all.by_site.pop(site, None)
