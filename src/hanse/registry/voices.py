"""Whose calls count how much: a weight from 0 to 1 for each payer's operator at each provider's.

What cannot be made up is money from outside (what the node's operator granted, what came in over a
rail), what was burnt as fees, and whom this node's operator trusts. Keys, calls and money that goes
round cost next to nothing. So, for the payers of one provider:

    own        the payer's operator is the provider's               0
    known      this node's operator knows it (level 1 or more)      1
    funded     the share of its money that came from outside, less what the provider paid back;
               all strangers' together at most STRANGERS_MAX voices
    unfunded   the rest: whoever spends what others paid it; all of them together at most one voice

docs/quality.md argues why, and what it does not stop.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

from hanse.protocol.keys import PublicKey
from hanse.registry.quality import Ended
from hanse.registry.store import Standing

STRANGERS_MAX = 5.0
"""Voices that all unknown, funded payers of one provider make up together."""

UNFUNDED_MAX = 1.0
"""Voices of all that spend only what others paid them: a ring, however many its keys."""

OUTSIDE_MIN_MSAT = 1000
"""Money from outside that makes an operator funded: dust makes nobody."""

TRADES_MAX = 1_000_000
"""Pairs of operators whose payments are remembered in memory."""


class Voices:
    """What operators brought in and paid each other, and what follows for their voices."""

    def __init__(self, viewer: PublicKey, standing: Standing) -> None:
        self._viewer = viewer
        self._standing = standing
        self._outside: dict[str, int] = {}
        self._earned: dict[str, int] = {}
        self._paid: dict[str, dict[str, int]] = defaultdict(dict)
        """By who is paid, then by who pays, in msat."""
        self._trades = 0

    # --- learning -----------------------------------------------------------------------------

    def learn(self, ended: Ended) -> None:
        """Add what one call paid."""
        self.paid(ended.payer, ended.payee, ended.paid_msat, ended.received_msat)

    def paid(self, payer: str, payee: str, paid_msat: int, received_msat: int) -> None:
        """Add payments of one operator to another."""
        if payer == payee or not paid_msat:
            return
        self._earned[payee] = self._earned.get(payee, 0) + received_msat
        payers = self._paid[payee]
        if payer not in payers:
            if self._trades >= TRADES_MAX:
                return  # its earnings still count against it: a voice is lost, none is gained
            self._trades += 1
        payers[payer] = payers.get(payer, 0) + paid_msat

    def brought(self, operator: str, outside_msat: int) -> None:
        """All that came in from outside for an operator's keys, as it stands."""
        self._outside[operator] = outside_msat

    def forget(self) -> None:
        """Start anew, to be told everything again."""
        self._outside.clear()
        self._earned.clear()
        self._paid.clear()
        self._trades = 0

    # --- weighing -----------------------------------------------------------------------------

    def weight(self, payer: str, provider: str, payers: Iterable[str] | None = None) -> float:
        """How much one payer's calls of a provider count, 0 to 1; both are operators. `payers` are
        those it shares the strangers' voices with: all that ever paid that provider, if None."""
        among = set(self._paid.get(provider, ()) if payers is None else payers)
        return self.weights(among | {payer}, provider)[payer]

    def weights(self, payers: Iterable[str], provider: str) -> dict[str, float]:
        """How much each of these payers counts for a provider."""
        found: dict[str, float] = {}
        strangers: dict[str, float] = {}
        for payer in payers:
            if payer == provider:
                found[payer] = 0.0
            elif payer == self._viewer or self._known(payer):
                found[payer] = 1.0
            else:
                strangers[payer] = self.backing(payer, provider)
        funded = sum(strangers.values())
        unfunded = len(strangers) - funded
        share = min(1.0, STRANGERS_MAX / funded) if funded else 0.0
        rest = min(1.0, UNFUNDED_MAX / unfunded) if unfunded > 0 else 0.0
        for payer, backing in strangers.items():
            found[payer] = backing * share + (1 - backing) * rest
        return found

    def weigher(self, provider: str) -> Callable[[Iterable[str]], Mapping[str, float]]:
        """`weights` for one provider."""
        return lambda payers: self.weights(payers, provider)

    def backing(self, payer: str, provider: str) -> float:
        """The share of a payer's voice that money from outside stands behind, 0 to 1: what it
        earned here may be anybody's, also the provider's own."""
        outside = self._outside.get(payer, 0)
        if outside < OUTSIDE_MIN_MSAT:
            return 0.0
        share = outside / (outside + self._earned.get(payer, 0))
        back = self._paid.get(payer, {}).get(provider, 0)
        if not back:
            return share
        paid = self._paid.get(provider, {}).get(payer, 0)
        return share * max(0.0, 1 - back / paid) if paid else 0.0

    def _known(self, operator: str) -> bool:
        return self._standing.level(self._viewer, PublicKey(operator)) >= 1
