"""Where operators stand with each other, told from memory: for what asks about many at once.

A search cannot read evidence for every hit. This knows circles, acceptance, the graph, and whom the
viewer or its circle caught betraying; records of dealings, and so level 3, only `Trust.explain`
knows. Strangers, and keys that speak for nobody any more, are 0 here: nothing is known for them.

Betrayals are read from the store: for a viewer that was not asked for before they are known from
the next `advance` on.
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from hanse.ports import Clock
from hanse.protocol.event import Event
from hanse.protocol.keys import PublicKey
from hanse.trust.acceptance import accept
from hanse.trust.betrayals import Betrayals
from hanse.trust.circles import Circles
from hanse.trust.model import Level

MEMO_MAX: Final = 10_000
VIEWERS_MAX: Final = 64
"""Viewers whose betrayals are kept up to date, the latest asked for."""

AT_ONCE_MAX: Final = 8
"""Of whom so many are read for in one `advance`: other views wait for it."""

ACCEPTED_SCORE, BACKED_SCORE, REACHED_SCORE = 0.75, 0.5, 0.25


class Standings:
    """Levels and scores of pairs, as of the last `advance`. A view of the log (`views.View`)."""

    def __init__(self, circles: Circles, betrayals: Betrayals, clock: Clock) -> None:
        self._circles = circles
        self._betrayals = betrayals
        self._clock = clock
        self._barred: OrderedDict[PublicKey, frozenset[PublicKey]] = OrderedDict()
        self._changes = 0
        self._memo: dict[tuple[PublicKey, PublicKey], tuple[int, float]] = {}

    def due_s(self, _event: Event) -> float | None:
        """See `views.View`: what this one reads is told by another."""
        return None

    async def advance(self) -> None:
        """Follow what changed; nothing while everything is read for the first time."""
        if self._circles.loading:
            return
        await self._circles.refresh(self._clock.now_s())
        now_s = self._clock.now_s()
        read: list[PublicKey] = []
        stale: list[PublicKey] = []
        for viewer in reversed(self._barred):
            known = self._betrayals.knows(*self._asked(viewer, now_s), now_s)
            (read if known else stale).append(viewer)
        await self.watch([*read, *stale[:AT_ONCE_MAX]])
        self._memo.clear()

    async def watch(self, viewers: Iterable[PublicKey]) -> None:
        """Know from now on whom these, or their circles, caught betraying."""
        if not self._circles.ready:
            return
        now_s = self._clock.now_s()
        for viewer in [*viewers]:
            told = await self._betrayals.told(*self._asked(viewer, now_s), now_s)
            if self._barred.get(viewer) != told.barred:
                self._barred[viewer] = told.barred
                self._changes += 1
                self._memo.clear()

    @property
    def version(self) -> int:
        """Another number whenever somebody may stand otherwise than before."""
        return self._changes + self._circles.version

    def level(self, viewer: PublicKey, operator: PublicKey) -> int:
        """4 for the viewer and its circle, 2 for whom the circle accepts, else 0: nothing is known
        of anybody before all is read."""
        return self._known(viewer, operator)[0]

    def speaks(self, key: PublicKey) -> bool:
        """Whether what a key signs now is its owner's word. Raises Unavailable before all is
        read."""
        return self._circles.spoke(key, self._clock.now_s())

    def spoke(self, key: PublicKey, at_s: int) -> bool:
        """The same of a time."""
        return self._circles.spoke(key, at_s)

    def standing(self, viewer: PublicKey, operator: PublicKey) -> Level:
        """The level as permissions know it: a stranger's at least, but none for a key that speaks
        for nobody any more. Raises Unavailable before all is read."""
        if not self.speaks(operator) or operator in self._caught(viewer):
            return Level.BARRED
        return Level(max(Level.STRANGER, self.level(viewer, operator)))

    def current(self, key: PublicKey) -> PublicKey:
        """The key that speaks for a key's identity now."""
        return self._circles.current(key)

    def score(self, viewer: PublicKey, operator: PublicKey) -> float:
        """0 to 1: how near they stand."""
        return self._known(viewer, operator)[1]

    def _known(self, viewer: PublicKey, operator: PublicKey) -> tuple[int, float]:
        if not self._circles.ready:
            return 0, 0.0
        pair = (viewer, operator)
        found = self._memo.get(pair)
        if found is None:
            if len(self._memo) >= MEMO_MAX:
                self._memo.clear()
            found = self._memo[pair] = self._judge(viewer, operator)
        return found

    def _judge(self, viewer: PublicKey, operator: PublicKey) -> tuple[int, float]:
        circles, now_s = self._circles, self._clock.now_s()
        if not circles.spoke(operator, now_s):
            return 0, 0.0
        me, barred = circles.current(viewer), self._caught(viewer)
        if operator in barred:
            return 0, 0.0
        circle = circles.circle(me, "", now_s) - barred
        if operator == me or operator in circle:
            return int(Level.CIRCLE), 1.0
        if accept(circles.counted(circle, operator), circle, operator).accepted:
            return int(Level.ACCEPTED), ACCEPTED_SCORE
        graph = circles.general
        number = graph.index(operator)
        if not circle or number is None:
            return 0, 0.0
        seen = graph.view(circle, barred).of(number)
        if seen.backed:
            return 0, BACKED_SCORE
        return 0, REACHED_SCORE if seen.reach > 0 else 0.0

    def _caught(self, viewer: PublicKey) -> frozenset[PublicKey]:
        found = self._barred.get(viewer)
        if found is None:
            found = self._barred[viewer] = frozenset()
            if len(self._barred) > VIEWERS_MAX:
                self._barred.popitem(last=False)
        else:
            self._barred.move_to_end(viewer)
        return found

    def _asked(self, viewer: PublicKey, now_s: int) -> tuple[PublicKey, frozenset[PublicKey]]:
        me = self._circles.current(viewer)
        return me, self._circles.circle(me, "", now_s)
