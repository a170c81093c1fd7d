"""Calls with their money: opening holds the price, closing settles or refunds, one commit each."""

from typing import Any

import msgspec

from hanse.broker.model import Call, CallState, Fault
from hanse.engines.storage.database import Database, Row, Transaction
from hanse.engines.storage.ledger import account_id, hold, move, resolve
from hanse.engines.storage.log import EventLog
from hanse.payments.model import ESCROW_NAME, FEES_NAME, AccountKind, TransferKind
from hanse.protocol.amount import Amount
from hanse.protocol.event import Event
from hanse.protocol.keys import PublicKey, is_hex


class StoredCalls:
    """Implements `broker.store.Calls`."""

    def __init__(self, database: Database, log: EventLog) -> None:
        self._database = database
        self._log = log

    async def open_call(self, call: Call) -> Call:
        """See `broker.store.Calls`."""
        return await self._database.write(_open, call)

    async def close_call(self, call: Call, receipt: Event) -> Call:
        """See `broker.store.Calls`."""
        return await self._database.write(_close, call, receipt, self._log)

    async def call(self, id: bytes) -> Call | None:
        """See `broker.store.Calls`."""
        found = await self._database.one("call_get", id)
        return _call(found) if found else None

    async def open_calls(self) -> list[Call]:
        """See `broker.store.Calls`."""
        return [_call(row) for row in await self._database.all("calls_open")]

    async def receipt(self, id: str) -> Event | None:
        """See `broker.store.Calls`."""
        if not is_hex(id, 64):
            return None
        found = await self._database.one("call_receipt", bytes.fromhex(id))
        if found is not None and found[0] is not None:
            return await self._log.event(bytes(found[0]).hex())
        return await self._log.event(id)

    async def counts(self) -> dict[str, int]:
        """See `broker.store.Calls`."""
        rows = await self._database.all("call_counts")
        return {str(state): int(count) for state, count in rows}


# --- operations -------------------------------------------------------------------------------


def _open(tx: Transaction, call: Call) -> Call:
    inserted = tx.one(
        "call_insert",
        call.id,
        call.caller,
        call.operator,
        call.provider,
        call.offer,
        call.capability,
        call.fingerprint,
        call.input_sha256,
        call.price.msat,
        call.fee.msat,
        call.deadline_ms,
        call.opened_ms,
        call.holder,
        call.words,
        call.version,
        call.payee or "",
    )
    if inserted is None:
        return _stored(tx, call.id)
    caller = account_id(tx, call.caller, AccountKind.AGENT)
    escrow = account_id(tx, ESCROW_NAME, AccountKind.ESCROW)
    hold(tx, _transfer_id(call.id, "hold"), caller, escrow, call.price.msat, call.opened_ms)
    return call


def _close(tx: Transaction, call: Call, receipt: Event, log: EventLog) -> Call:
    closed = tx.one(
        "call_close",
        call.state.value,
        call.fault.value if call.fault else None,
        call.detail,
        call.latency_ms,
        call.closed_ms,
        msgspec.json.encode(call.output) if call.output is not None else None,
        call.output_sha256,
        call.delivery,
        bytes.fromhex(receipt.id),
        call.id,
    )
    if closed is None:
        return _stored(tx, call.id)
    at_ms = call.closed_ms or call.opened_ms
    held = _transfer_id(call.id, "hold")
    if call.state is CallState.SETTLED:
        resolve(tx, _transfer_id(call.id, "post"), held, TransferKind.POST, at_ms)
        _pay(tx, call, at_ms)
    else:
        left = call.fault is Fault.NODE_STOPPED
        kind = TransferKind.EXPIRE if left else TransferKind.VOID
        resolve(tx, _transfer_id(call.id, "void"), held, kind, at_ms)
    log.append_within(tx, receipt)
    return call


def _pay(tx: Transaction, call: Call, at_ms: int) -> None:
    escrow = account_id(tx, ESCROW_NAME, AccountKind.ESCROW)
    net = (call.price - call.fee).msat
    if net:
        provider = account_id(tx, call.provider, AccountKind.AGENT)
        move(tx, _transfer_id(call.id, "net"), escrow, provider, net, at_ms)
    if call.fee.msat:
        fees = account_id(tx, FEES_NAME, AccountKind.FEES)
        move(tx, _transfer_id(call.id, "fee"), escrow, fees, call.fee.msat, at_ms)


def _stored(tx: Transaction, id: bytes) -> Call:
    found = tx.one("call_get", id)
    assert found is not None
    return _call(found)


def _transfer_id(call: bytes, part: str) -> bytes:
    """Transfers of a call have ids that follow from it, so none can be made twice; and they begin
    with it, so that they lie side by side and one page holds them all."""
    return call + part.encode()


def _call(row: Row) -> Call:
    values: list[Any] = list(row)
    return Call(
        id=bytes(values[0]),
        caller=PublicKey(values[1]),
        operator=PublicKey(values[2]),
        provider=PublicKey(values[3]),
        offer=values[4],
        capability=values[5],
        fingerprint=bytes(values[6]),
        input_sha256=values[7],
        price=Amount(values[8]),
        fee=Amount(values[9]),
        deadline_ms=values[10],
        opened_ms=values[11],
        state=CallState(values[12]),
        fault=Fault(values[13]) if values[13] else None,
        detail=values[14],
        latency_ms=values[15],
        closed_ms=values[16],
        output=msgspec.json.decode(values[17]) if values[17] is not None else None,
        output_sha256=values[18],
        delivery=values[19],
        receipt_id=bytes(values[20]).hex() if values[20] is not None else None,
        holder=values[21],
        words=values[22],
        version=values[23],
        payee=PublicKey(values[24]) if values[24] else None,
    )
