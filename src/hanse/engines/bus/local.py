"""The bus inside one process: every listener hears every event, in order, on the event loop."""

from hanse.ports import Listener
from hanse.protocol.event import Event


class LocalBus:
    """Implements `ports.Bus`."""

    connected = True
    others = 0
    dropped = 0

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def publish(self, event: Event) -> int:
        """See `ports.Bus`."""
        return sum(listener(event) for listener in self._listeners)

    def listen(self, listener: Listener) -> None:
        """See `ports.Bus`."""
        self._listeners.append(listener)

    def listen_here(self, listener: Listener) -> None:
        """See `ports.Bus`."""
        self._listeners.append(listener)
