"""What policies are asked with: a context at a fixed time, for a sender anybody may be."""

from collections.abc import Sequence
from typing import Any

from hanse.errors import HanseError
from hanse.keyring import new_secret
from hanse.protocol.event import Event, sign_event
from hanse.protocol.keys import PublicKey, SecretKey
from hanse.servers.relay.admission import Admission
from hanse.servers.relay.context import Context, House, Policy, Sender
from hanse.servers.relay.lists import Lists
from hanse.servers.relay.rules import Rules

NOW = 1_800_000_000
AUTHOR = new_secret()
OPERATOR = new_secret()
NODE = new_secret()
HOST = "relay.example"
FAR = Sender("203.0.113.7")
"""A client from elsewhere, who has proved nothing."""


class SetClock:
    """Implements `ports.Clock`: a test moves it."""

    def __init__(self) -> None:
        self.passed_ms = 0.0

    def now_s(self) -> int:
        return NOW + int(self.passed_ms // 1000)

    def now_ms(self) -> int:
        return self.now_s() * 1000

    def monotonic_ms(self) -> float:
        return self.passed_ms


class Door:
    """All policies of a relay, as `Ingest` asks them."""

    def __init__(self, rules: Rules | None = None, more: Sequence[Policy] = ()) -> None:
        self.clock = SetClock()
        self.lists = Lists()
        self.blamed: list[PublicKey] = []
        own = frozenset({OPERATOR.public, NODE.public})
        self.admission = Admission(
            rules=rules or Rules(),
            lists=self.lists,
            house=House(own, OPERATOR.public, frozenset({HOST})),
            clock=self.clock,
            more=more,
            blame=self.blamed.append,
        )

    def context(self, source: Sender = FAR) -> Context:
        return self.admission.context(source)

    def admit(self, event: Event, source: Sender = FAR) -> None:
        """Raises what refuses the event."""
        self.admission.arrive(source)
        context = self.context(source)
        for policy in self.admission.early:
            policy(event, context)
        try:
            for policy in self.admission.late:
                policy(event, context)
        except HanseError as exc:
            self.admission.refused(event, exc, context)
            raise


def an_event(secret: SecretKey = AUTHOR, **changes: Any) -> Event:
    """A signed note of now."""
    fields: dict[str, Any] = {"kind": 1, "created_at": NOW}
    return sign_event(secret, **(fields | changes))
