"""The SQLite ledger against a dumb model of it: any operations, in any groups, give the same
outcomes and the same books.

Operations queue up and are committed together, as the writer does it under load; the model does
them one after the other.
"""

import asyncio
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from hanse.engines.storage.database import Transaction
from hanse.engines.storage.ledger import StoredLedger, account_id, hold, move, resolve
from hanse.engines.storage.sqlite import SqliteDatabase
from hanse.errors import Conflict, HanseError, InsufficientFunds, NotFound, Unavailable
from hanse.payments.model import ESCROW_NAME, ISSUE_NAME, AccountKind, TransferKind
from hanse.protocol.amount import Amount

AGENTS = ("ada", "bob", "eve")
KINDS = {ISSUE_NAME: AccountKind.ISSUE, ESCROW_NAME: AccountKind.ESCROW}
HELD = "SELECT coalesce(sum(debits_pending), 0), coalesce(sum(credits_pending), 0) FROM account"

agents = st.sampled_from(AGENTS)
spenders = st.sampled_from((*AGENTS, ESCROW_NAME))
ids = st.integers(0, 50).map(lambda number: number.to_bytes(32, "big"))
amounts = st.integers(0, 40)


class Row(msgspec.Struct, frozen=True):
    """One transfer as the model keeps it."""

    debit: str
    credit: str
    amount: int
    kind: TransferKind
    pending: bytes | None = None


class Op(msgspec.Struct, frozen=True):
    """One operation somebody asks for: a row to write under an id."""

    id: bytes
    row: Row
    grant: bool = False


class Model:
    """Money as one would do it by hand: a list of transfers, everything else added up from it."""

    def __init__(self) -> None:
        self.rows: dict[bytes, Row] = {}
        self.names: list[str] = []

    def do(self, op: Op) -> type[HanseError] | bool:
        """True, False for a grant that was done before, or what refuses it."""
        row = op.row
        if row.kind in (TransferKind.POST, TransferKind.VOID):
            return self._resolve(op)
        if op.id in self.rows:
            if op.grant:
                return False if self.rows[op.id] == row else Conflict
            return Unavailable
        if row.debit == row.credit:
            return Unavailable
        if row.debit != ISSUE_NAME and self.available(row.debit) < row.amount:
            return InsufficientFunds
        self._add(op.id, row)
        return True

    def _resolve(self, op: Op) -> type[HanseError] | bool:
        found = self.rows.get(op.row.pending or b"")
        if found is None or found.kind is not TransferKind.PENDING:
            return NotFound
        if op.id in self.rows or op.row.pending not in self.open():
            return Conflict
        moved = found.amount if op.row.kind is TransferKind.POST else 0
        self._add(op.id, Row(found.debit, found.credit, moved, op.row.kind, op.row.pending))
        return True

    def _add(self, id: bytes, row: Row) -> None:
        self.rows[id] = row
        self.names += [name for name in (row.debit, row.credit) if name not in self.names]

    def open(self) -> dict[bytes, Row]:
        """Holds that nothing has resolved."""
        resolved = {row.pending for row in self.rows.values()}
        return {
            id: row
            for id, row in self.rows.items()
            if row.kind is TransferKind.PENDING and id not in resolved
        }

    def balance(self, name: str) -> int:
        """What came in less what went out."""
        moved = [row for row in self.rows.values() if row.kind is not TransferKind.PENDING]
        got = sum(row.amount for row in moved if row.credit == name)
        return got - sum(row.amount for row in moved if row.debit == name)

    def held(self, name: str) -> int:
        """What is on hold."""
        return sum(row.amount for row in self.open().values() if row.debit == name)

    def available(self, name: str) -> int:
        """What can be spent."""
        return self.balance(name) - self.held(name)


def _number(tx: Transaction, name: str) -> int:
    return account_id(tx, name, KINDS.get(name, AccountKind.AGENT))


def operation(op: Op) -> Callable[[Transaction], bool]:
    """The same operation for the real ledger."""
    row = op.row

    def perform(tx: Transaction) -> bool:
        if row.pending is not None:
            resolve(tx, op.id, row.pending, row.kind, 1)
            return True
        debit, credit = _number(tx, row.debit), _number(tx, row.credit)
        act = hold if row.kind is TransferKind.PENDING else move
        act(tx, op.id, debit, credit, row.amount, 1)
        return True

    return perform


class LedgerMachine(RuleBasedStateMachine):
    """Rules add operations to a group; `commit` runs the group on both sides and compares."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.mkdtemp(prefix="hanse-ledger-")
        self.runner = asyncio.Runner()
        self.database = SqliteDatabase(str(Path(self.folder) / "hanse.db"))
        self.runner.run(self.database.__aenter__())
        self.ledger = StoredLedger(self.database)
        self.model = Model()
        self.group: list[Op] = []

    @initialize(amounts=st.lists(st.integers(0, 200), min_size=3, max_size=3))
    def start(self, amounts: list[int]) -> None:
        for number, (to, amount) in enumerate(zip(AGENTS, amounts, strict=True)):
            row = Row(ISSUE_NAME, to, amount, TransferKind.SINGLE)
            self.group.append(Op((100 + number).to_bytes(32, "big"), row, grant=True))
        self.commit()

    @rule(id=ids, to=agents, amount=amounts)
    def grant(self, id: bytes, to: str, amount: int) -> None:
        self.group.append(Op(id, Row(ISSUE_NAME, to, amount, TransferKind.SINGLE), grant=True))

    @rule(id=ids, debit=agents, amount=amounts)
    def hold(self, id: bytes, debit: str, amount: int) -> None:
        self.group.append(Op(id, Row(debit, ESCROW_NAME, amount, TransferKind.PENDING)))

    @rule(id=ids, pending=ids, kind=st.sampled_from((TransferKind.POST, TransferKind.VOID)))
    def resolve(self, id: bytes, pending: bytes, kind: TransferKind) -> None:
        self.group.append(Op(id, Row("", "", 0, kind, pending)))

    @rule(data=st.data(), kind=st.sampled_from((TransferKind.POST, TransferKind.VOID)))
    def resolve_an_open_one(self, data: st.DataObject, kind: TransferKind) -> None:
        held = sorted(self.model.open())
        free = [number.to_bytes(32, "big") for number in range(1000, 1100)]
        used = {op.id for op in self.group} | set(self.model.rows)
        if held:
            id = next(found for found in free if found not in used)
            pending = data.draw(st.sampled_from(held))
            self.group.append(Op(id, Row("", "", 0, kind, pending)))

    @rule(id=ids, debit=spenders, credit=spenders, amount=amounts)
    def move(self, id: bytes, debit: str, credit: str, amount: int) -> None:
        self.group.append(Op(id, Row(debit, credit, amount, TransferKind.SINGLE)))

    @rule()
    def commit(self) -> None:
        group, self.group = self.group, []
        outcomes = self.runner.run(self._write(group))
        assert outcomes == [self.model.do(op) for op in group]

    async def _write(self, group: list[Op]) -> list[type[HanseError] | bool]:
        async def one(op: Op) -> type[HanseError] | bool:
            try:
                if op.grant:
                    amount = Amount(op.row.amount)
                    return await self.ledger.grant(op.id, op.row.credit, amount, "", 1)
                return await self.database.write(operation(op))
            except HanseError as refused:
                return type(refused)

        return list(await asyncio.gather(*(one(op) for op in group)))

    @invariant()
    def the_books_are_the_models(self) -> None:
        accounts = self.runner.run(self.ledger.accounts())
        whole = self.runner.run(self.ledger.sum_msat())
        assert sum(row.balance_msat for row in accounts) == whole == 0
        for row in accounts:
            assert row.kind is AccountKind.ISSUE or row.available_msat >= 0
        found = {row.name: (row.balance_msat, row.held_msat) for row in accounts}
        model = self.model
        assert found == {name: (model.balance(name), model.held(name)) for name in model.names}
        pending = sum(row.amount for row in model.open().values())
        assert self._rows(HELD) == [(pending, pending)]

    def _rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self.runner.run(self.database.select(sql, ()))

    @invariant()
    def the_transfers_are_the_models(self) -> None:
        rows = self._rows(
            "SELECT transfer.id, debit.name, credit.name, amount, transfer.kind, pending "
            "FROM transfer JOIN account AS debit ON debit.id = transfer.debit "
            "JOIN account AS credit ON credit.id = transfer.credit"
        )
        found = {
            id: Row(debit, credit, amount, TransferKind(kind), pending)
            for id, debit, credit, amount, kind, pending in rows
        }
        assert found == self.model.rows

    def teardown(self) -> None:
        try:
            self.commit()
            self.the_books_are_the_models()
            self.the_transfers_are_the_models()
        finally:
            self.runner.run(self.database.__aexit__(None, None, None))
            self.runner.close()
            shutil.rmtree(self.folder)


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(stateful_step_count=60)
