"""Whose calls count how much: a weight from 0 to 1 for each payer's operator at each provider's.

What cannot be made up is money from outside (what the node's operator granted, what came in over a
rail), what was burnt as fees, and whom this node's operator trusts. Keys, calls and money that goes
round cost next to nothing. So, for the payers of one provider:

    own        the payer's operator is the provider's               0
    known      this node's operator knows it (level 1 or more)      1
    funded     the share of its money that came from outside, less what the provider paid back;
               of strangers that pay each other in a ring all together at most one voice;
               all strangers together at most STRANGERS_MAX
    unfunded   the rest, whoever spends what others paid it: they fill up a first voice, no more

docs/quality.md argues why, and what it does not stop.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from hanse.protocol.keys import PublicKey
from hanse.registry.quality import Ended
from hanse.registry.store import Standing

STRANGERS_MAX = 5.0
"""Voices that all unknown, funded payers of one provider make up together."""

RING_MAX = 1.0
"""Voices of all that pay each other in a ring, however many their keys; and of all who spend only
what others paid them, where nobody else is heard."""

OUTSIDE_MIN_MSAT = 1000
"""Money from outside that makes an operator funded: dust makes nobody."""

TRADES_MAX = 1_000_000
"""Pairs of operators whose payments are remembered in memory."""

LOOK_AGAIN = 1.02
"""Rings are looked for again when there are so many times the pairs there were: it takes 2 s for
a million."""


class Voices:
    """What operators brought in and paid each other, and what follows for their voices."""

    def __init__(self, viewer: PublicKey, standing: Standing) -> None:
        self._viewer = viewer
        self.standing = standing
        self._outside: dict[str, int] = {}
        self._earned: dict[str, int] = {}
        self._paid: dict[str, dict[str, int]] = defaultdict(dict)
        """By who is paid, then by who pays, in msat."""
        self._trades = 0
        self._rings: dict[str, int] = {}
        self._looked_at = 0
        """How many pairs there were when rings were looked for."""

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

    @property
    def unsorted(self) -> bool:
        """Whether there are so many new pairs that rings should be looked for."""
        return self._trades > self._looked_at * LOOK_AGAIN

    def graph(self) -> dict[str, list[str]]:
        """Who pays whom, as it stands, without those that are known: nobody is in a ring because
        of them."""
        known = {payee: self._is_known(payee) for payee in self._paid}
        found: dict[str, list[str]] = defaultdict(list)
        for payee, payers in self._paid.items():
            if known[payee]:
                continue
            for payer in payers:
                if not known.get(payer, True):  # who is paid by nobody closes no ring
                    found[payer].append(payee)
        self._looked_at = self._trades
        return found

    def sort(self, rings: dict[str, int]) -> None:
        """Take the rings that `find_rings` found."""
        self._rings = rings

    def forget(self) -> None:
        """Start anew, to be told everything again."""
        self._outside.clear()
        self._earned.clear()
        self._paid.clear()
        self._rings = {}
        self._trades = self._looked_at = 0

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
            elif self._is_known(payer):
                found[payer] = 1.0
            else:
                strangers[payer] = self.backing(payer, provider)
        rings: dict[int, float] = defaultdict(float)
        for payer, backing in strangers.items():
            if payer in self._rings:
                rings[self._rings[payer]] += backing
        heard = {
            payer: backing * _share(RING_MAX, rings.get(self._rings.get(payer, -1), 0.0))
            for payer, backing in strangers.items()
        }
        funded = sum(heard.values())
        unfunded = len(strangers) - sum(strangers.values())
        share, rest = _share(STRANGERS_MAX, funded), _share(RING_MAX - funded, unfunded)
        for payer, voice in heard.items():
            found[payer] = voice * share + (1 - strangers[payer]) * rest
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

    def _is_known(self, operator: str) -> bool:
        return (
            operator == self._viewer or self.standing.level(self._viewer, PublicKey(operator)) >= 1
        )


def _share(most: float, wanted: float) -> float:
    """What each gets of what they want together, 0 to 1."""
    if most <= 0:
        return 0.0
    return 1.0 if wanted <= most else most / wanted


def find_rings(graph: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """The ring of each that money can come back to: strongly connected parts of two or more
    (Tarjan's, without recursion: a ring may be long)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    waiting: set[str] = set()
    found: dict[str, int] = {}
    for start in graph:
        if start in order:
            continue
        work = [(start, iter(graph[start]))]
        order[start] = low[start] = len(order)
        stack.append(start)
        waiting.add(start)
        while work:
            here, rest = work[-1]
            following = next(rest, None)
            if following is not None:
                if following not in order:
                    order[following] = low[following] = len(order)
                    stack.append(following)
                    waiting.add(following)
                    work.append((following, iter(graph.get(following, ()))))
                elif following in waiting:
                    low[here] = min(low[here], order[following])
                continue
            work.pop()
            if work:
                before = work[-1][0]
                low[before] = min(low[before], low[here])
            if low[here] == order[here]:
                _part(here, stack, waiting, found)
    return found


def _part(root: str, stack: list[str], waiting: set[str], found: dict[str, int]) -> None:
    """Take a whole part from the stack; one of a single member is no ring."""
    part: list[str] = []
    while not part or part[-1] != root:
        part.append(stack.pop())
        waiting.discard(part[-1])
    if len(part) > 1:
        number = len(found)
        found.update(dict.fromkeys(part, number))
