"""Who we are to one relay (NIP-42): its challenge, our answer, and what it says to that.

A relay asks when a connection opens, or only when it refuses something. Who was refused for want of
a proof waits here for the fate of ours, then asks once more.
"""

import asyncio
from collections.abc import Callable

from hanse.protocol import kinds, message
from hanse.protocol.event import sign_event
from hanse.protocol.keys import SecretKey

PROOF_S = 10.0
CHALLENGES_MAX = 16


class Proof:
    """The proof of one connection. Without a secret there never is one. `settled` hears at once
    when the relay has taken or refused it, or took too long."""

    def __init__(
        self,
        url: str,
        secret: SecretKey | None,
        now_s: Callable[[], int],
        settled: Callable[[], None],
    ) -> None:
        self.accepted = 0
        """How often the relay has taken one: what it refused before may pass now."""
        self._url = url
        self._secret = secret
        self._now_s = now_s
        self._settled = settled
        self._id = ""
        self._challenges: set[str] = set()
        self._fate: asyncio.Future[str] | None = None
        self._late: asyncio.TimerHandle | None = None

    @property
    def is_pending(self) -> bool:
        """Whether the relay has yet to say what it thinks of it."""
        return self._fate is not None and not self._fate.done()

    @property
    def refusal(self) -> str:
        """Why the last one did not hold; empty if it did, is pending, or there is none."""
        return self._fate.result() if self._fate is not None and self._fate.done() else ""

    def answer(self, challenge: str) -> bytes | None:
        """The AUTH for a challenge, once for each; None if none is due. A newer challenge voids
        the older, so the last AUTH is the one that counts."""
        if self._secret is None or challenge in self._challenges:
            return None
        if len(self._challenges) >= CHALLENGES_MAX:
            return None
        self._challenges.add(challenge)
        tags = (("relay", self._url), ("challenge", challenge))
        event = sign_event(
            self._secret, kind=kinds.CLIENT_AUTH, created_at=self._now_s(), tags=tags
        )
        self._id = event.id
        loop = asyncio.get_running_loop()
        if not self.is_pending:
            self._fate = loop.create_future()
        self._forget_the_time()
        self._late = loop.call_later(PROOF_S, self.end, f"no answer within {PROOF_S:g} s")
        return message.authenticate(event)

    def heard(self, id: str, accepted: bool, text: str) -> bool:
        """An OK: whether it is for our last proof."""
        if not self._id or id != self._id:
            return False
        self.accepted += accepted
        self.end("" if accepted else text or "no reason given")
        return True

    def end(self, why: str) -> None:
        """There is nothing more to wait for: `why` it does not hold, empty if it does."""
        self._forget_the_time()
        if self._fate is not None and not self._fate.done():
            self._fate.set_result(why)
            self._settled()

    async def wait(self) -> None:
        """Until its fate is known; not at all if no challenge was answered."""
        if self._fate is not None:
            await asyncio.shield(self._fate)

    def _forget_the_time(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
