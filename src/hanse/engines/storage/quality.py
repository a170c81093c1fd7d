"""Measured quality as it is kept: tallies, trades and grants, a view of the ended calls.

It follows the receipts in the order of the log, in steps that commit the tallies together with how
far they go: a crash between two calls' ends loses nothing and counts nothing twice, and of the
nodes that share a database any may take the next step.
"""

import asyncio
from collections.abc import Iterable

import msgspec

from hanse.broker.receipt import verify_receipt
from hanse.engines.storage.columns import decode_row
from hanse.engines.storage.database import Database, Row, Transaction
from hanse.errors import Invalid, Unavailable
from hanse.registry.observed import Kept, Observed, tallied, together
from hanse.registry.quality import (
    DAY_S,
    HOUR_S,
    LOAD,
    SETTLED,
    Ended,
    Tally,
    major_of,
    new_tally,
    oldest_slot,
)
from hanse.registry.voices import TRADES_MAX, find_rings

VIEW = "quality"

STEP = 500
"""Calls in one commit."""

STRIDE = 50_000
"""Events of the log looked through in one step: most are no receipts, and others wait to write."""

PAGE = 5000
"""Tallies read at once."""

LOADS_MAX = 10

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(Tally).decode


class StoredQuality:
    """Keeps the tallies up to date, and fills an `Observed` from them."""

    def __init__(self, database: Database, stride: int = STRIDE) -> None:
        self._database = database
        self._stride = stride

    async def advance(self, now_s: int) -> None:
        """Count all calls that ended since the last time, and forget slots that are too old."""
        while await self._database.write(_step, now_s, self._stride):
            pass
        await self._database.write(_forget, now_s)

    async def rebuild(self, now_s: int) -> None:
        """Throw the view away and count every call again."""
        await self._database.write(_clear)
        await self.advance(now_s)

    async def load(self, observed: Observed) -> None:
        """Fill it with what is kept. Call once, before anything is recorded."""
        for _ in range(LOADS_MAX):
            if await self._load(observed):
                return await self.catch_up(observed)
        raise Unavailable("other nodes count calls faster than these can be read", hint="again")

    async def _load(self, observed: Observed) -> bool:
        """False if another node went on in between: pages of two states do not fit together."""
        observed.clear()
        start: Row = ("", "", -1, "", 0, 0)
        first, trades = await self._database.read(_trades)
        for payer, payee, paid, received in trades:
            observed.voices.paid(payer, payee, int(paid), int(received))
        while True:
            seq, rows = await self._database.read(_page, start)
            if seq != first:
                return False
            observed.load((_kept(row) for row in rows), seq)
            if len(rows) < PAGE:
                return True
            start = rows[-1][:6]

    async def catch_up(self, observed: Observed) -> None:
        """Tell it of the calls that ended since, at whichever node."""
        while True:
            upto, more, rows = await self._database.read(_after, observed.seq, self._stride)
            observed.catch_up(((int(row[0]), _ended(row)) for row in rows), upto)
            if not more:
                break
        for operator, msat in await self._database.all("outside_by_operator"):
            observed.voices.brought(operator, int(msat))
        voices = observed.voices
        if voices.unsorted:
            voices.sort(await asyncio.to_thread(find_rings, voices.graph()))
            observed.refresh()

    async def said(self, source: str) -> dict[tuple[str, str, int], Tally]:
        """What the receipts of another node say, by capability, over the days that are kept."""
        found: dict[tuple[str, str, int], Tally] = {}
        for row in await self._database.all("tallies_said", source, PAGE):
            address, capability, major, _, span, _, tally = row
            if span == DAY_S:
                whole = found.setdefault((address, capability, int(major)), new_tally())
                whole.merge(_unpack(bytes(tally)))
        return found


# --- operations -------------------------------------------------------------------------------


def _step(tx: Transaction, now_s: int, stride: int) -> bool:
    seq, end = _place(tx)
    last = min(end, seq + stride)
    rows = tx.all("calls_ended_after", seq, last, STEP)
    foreign = tx.all("receipts_after", seq, last, STEP)
    full = [found for found in (rows, foreign) if len(found) == STEP]
    upto = min((int(found[-1][0]) for found in full), default=last)
    calls = [_ended(row) for row in rows if row[0] <= upto]
    since_s = oldest_slot(DAY_S, now_s) * DAY_S
    _add(tx, "", calls, since_s, now_s)
    for source, said in _foreign(row[1] for row in foreign if row[0] <= upto).items():
        _add(tx, source, said, since_s, now_s)
    for (payer, payee), (paid, received) in _paid(calls).items():
        tx.all("trade_add", payer, payee, paid, received)
    agents = {ended.caller: ended.payer for ended in calls}
    agents |= {ended.provider: ended.payee for ended in calls}
    for agent, operator in agents.items():
        tx.all("trader_set", agent, operator)
    if upto > seq:
        tx.all("view_set", VIEW, upto)
    return upto < end


def _add(tx: Transaction, source: str, calls: Iterable[Ended], since_s: int, now_s: int) -> None:
    hours = oldest_slot(HOUR_S, now_s)
    for (key, place), tally in tallied(calls, since_s).items():
        if (place[1] == HOUR_S and place[2] < hours) or (source and place[0] == LOAD):
            continue
        known = tx.one("tally_get", source, *key, *place)
        before = new_tally() if known is None else _unpack(bytes(known[0]))
        tx.all("tally_set", source, *key, *place, _pack(together(place, before, tally)))


def _paid(calls: Iterable[Ended]) -> dict[tuple[str, str], tuple[int, int]]:
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for ended in calls:
        if ended.paid_msat and ended.payer != ended.payee:
            paid, received = found.get((ended.payer, ended.payee), (0, 0))
            pair = (paid + ended.paid_msat, received + ended.received_msat)
            found[ended.payer, ended.payee] = pair
    return found


def _foreign(rows: Iterable[bytes]) -> dict[str, list[Ended]]:
    """What others' receipts say, by who signed; those that do not hold say nothing."""
    found: dict[str, list[Ended]] = {}
    for json in rows:
        event = decode_row(json)
        try:
            receipt = verify_receipt(event)
        except Invalid:
            continue
        found.setdefault(event.pubkey, []).append(
            Ended(
                id=bytes.fromhex(event.id),
                address=receipt.offer,
                capability=receipt.capability,
                major=major_of(receipt.version),
                caller=receipt.caller,
                provider=receipt.provider,
                payer="",  # whose voice it is, that node does not say: the word is its own
                payee=receipt.provider,
                end=receipt.fault or SETTLED,
                latency_ms=receipt.latency_ms,
                at_s=event.created_at,
            )
        )
    return found


def _forget(tx: Transaction, now_s: int) -> None:
    for span in (HOUR_S, DAY_S):
        tx.all("tallies_drop", span, oldest_slot(span, now_s))


def _clear(tx: Transaction) -> None:
    _place(tx)
    for name in ("tallies_clear", "trades_clear", "traders_clear"):
        tx.all(name)
    tx.all("view_set", VIEW, 0)


def _place(tx: Transaction) -> tuple[int, int]:
    """How far the view is, held until the commit, and how far the log."""
    held = tx.one("view_hold", VIEW)
    if held is None:
        tx.all("view_begin", VIEW)
        held = tx.one("view_hold", VIEW)
    last = tx.one("event_last_seq")
    assert held is not None
    assert last is not None
    return int(held[0]), int(last[0])


def _seq(tx: Transaction) -> int:
    found = tx.one("view_seq", VIEW)
    return int(found[0]) if found else 0


def _trades(tx: Transaction) -> tuple[int, list[Row]]:
    return _seq(tx), tx.all("trades", TRADES_MAX)


def _page(tx: Transaction, start: Row) -> tuple[int, list[Row]]:
    return _seq(tx), tx.all("tallies", *start, PAGE)


def _after(tx: Transaction, seq: int, stride: int) -> tuple[int, bool, list[Row]]:
    """How far these calls go, and whether there is more beyond."""
    found = tx.one("event_last_seq")
    assert found is not None
    last = min(int(found[0]), seq + stride)
    rows = tx.all("calls_ended_after", seq, last, STEP)
    upto = int(rows[-1][0]) if len(rows) == STEP else last
    return upto, upto < int(found[0]), rows


def _kept(row: Row) -> Kept:
    address, capability, major, payer, span, slot, tally = row
    place = (payer, int(span), int(slot))
    return Kept(address, capability, int(major), place, _unpack(bytes(tally)))


def _ended(row: Row) -> Ended:
    (_, id, offer, capability, version, caller, provider, payer, payee, state, fault, latency_ms,
     closed_ms, price, fee, busy) = row  # fmt: skip
    settled = state == SETTLED
    return Ended(
        id=bytes(id),
        address=offer,
        capability=capability,
        major=major_of(version),
        caller=caller,
        provider=provider,
        payer=payer,
        payee=payee or provider,
        end=fault or SETTLED,
        latency_ms=latency_ms,
        at_s=closed_ms // 1000,
        paid_msat=price if settled else 0,
        received_msat=price - fee if settled else 0,
        busy=bool(busy),
    )
