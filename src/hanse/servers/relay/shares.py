"""What clients share of the relay's memory: the values in the filters of open subscriptions.

Each is kept, and looked up live, for about 250 bytes. So a connection may hold so many, an address
so many over all its connections, and all clients together so many.
"""

from hanse.errors import RateLimited
from hanse.servers.relay.addresses import counted, is_loopback


class Shares:
    """Counts values by address. Loopback has no bound of its own: a proxy there is everybody."""

    def __init__(self, of_address_max: int, of_all_max: int) -> None:
        self._of_address_max = of_address_max
        self._of_all_max = of_all_max
        self.taken = 0
        self._of: dict[str, int] = {}

    def take(self, address: str, count: int) -> None:
        """Take so many. Raises RateLimited, and takes none, if there are not so many left."""
        site = counted(address)
        of_one = self._of.get(site, 0) + count
        if of_one > self._of_address_max and not is_loopback(address):
            most = f"{self._of_address_max} values in the filters of one address"
            raise RateLimited(f"over {most}", hint="close some first")
        if self.taken + count > self._of_all_max:
            raise RateLimited("all clients' filters have too many values", hint="try again later")
        self.taken += count
        self._of[site] = of_one

    def leave(self, address: str, count: int) -> None:
        """Give so many back."""
        self.taken -= count
        site = counted(address)
        left = self._of.get(site, 0) - count
        if left > 0:
            self._of[site] = left
        else:
            self._of.pop(site, None)
