"""The ledger's operations: double entry, each inside somebody's transaction.

    hold     pending: debit and credit sides show it, nothing moves     (PENDING)
    post     resolves a hold: it moves                                   (POST)
    void     resolves a hold: it returns                                 (VOID, EXPIRE)
    move     at once                                                     (SINGLE)

The database itself refuses an overdraft (CHECK on account), a second resolution (unique index)
and a changed transfer (triggers); what it raises becomes our error here.
"""

from hanse.engines.storage.database import (
    REMEMBERED_MAX,
    ConstraintBroken,
    Database,
    Transaction,
)
from hanse.errors import Conflict, InsufficientFunds, Invalid, NotFound
from hanse.payments.model import (
    ISSUE_NAME,
    Account,
    AccountKind,
    TransferKind,
)
from hanse.protocol.amount import AMOUNT_MAX_MSAT, Amount


class StoredLedger:
    """Implements `payments.store.Ledger`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def grant(self, id: bytes, to: str, amount: Amount, memo: str, at_ms: int) -> bool:
        """See `payments.store.Ledger`."""

        def operation(tx: Transaction) -> bool:
            issue = account_id(tx, ISSUE_NAME, AccountKind.ISSUE)
            agent = account_id(tx, to, AccountKind.AGENT)
            known = tx.one("transfer_get", id)
            if known is not None:
                if known[:3] != (issue, agent, amount.msat) or known[5] != memo:
                    raise Conflict("was granted before with other content", field="key")
                return False
            issued = tx.one("account_get", ISSUE_NAME)
            if issued is not None and amount.msat - issued[2] > AMOUNT_MAX_MSAT:
                raise Invalid.at("amount", f"a node issues at most {AMOUNT_MAX_MSAT} msat in all")
            move(tx, id, issue, agent, amount.msat, at_ms, memo)
            tx.all("outside_add", to, amount.msat)
            return True

        return await self._database.write(operation)

    async def account(self, name: str) -> Account | None:
        """See `payments.store.Ledger`."""
        found = await self._database.one("account_get", name)
        return _account(found) if found else None

    async def accounts(self) -> list[Account]:
        """See `payments.store.Ledger`."""
        return [_account(row) for row in await self._database.all("account_list")]

    async def sum_msat(self) -> int:
        """See `payments.store.Ledger`."""
        found = await self._database.one("account_sum")
        return int(found[0]) if found else 0

    async def held_msat(self) -> int:
        """See `payments.store.Ledger`."""
        found = await self._database.one("account_held_sum")
        return int(found[0]) if found else 0


def _account(row: tuple[object, ...]) -> Account:
    name, kind, balance, held = row
    assert isinstance(balance, int)
    assert isinstance(held, int)
    return Account(
        name=str(name), kind=AccountKind(str(kind)), balance_msat=balance, held_msat=held
    )


# --- operations -------------------------------------------------------------------------------


def account_id(tx: Transaction, name: str, kind: AccountKind) -> int:
    """The account's number; opened if there is none of that name."""
    known = tx.remembered.get(name)
    if known is not None:
        return known
    found = tx.one("account_id", name)
    if found is None:
        tx.all("account_open", name, kind.value)
        found = tx.one("account_id", name)
    assert found is not None
    if len(tx.remembered) >= REMEMBERED_MAX:
        tx.remembered.clear()
    tx.remembered[name] = int(found[0])
    return int(found[0])


def hold(tx: Transaction, id: bytes, debit: int, credit: int, msat: int, at_ms: int) -> None:
    """Put an amount on hold. Raises InsufficientFunds when the debit side cannot cover it."""
    tx.all("transfer_insert", id, debit, credit, msat, TransferKind.PENDING, None, "", at_ms)
    try:
        tx.all("account_hold_debit", msat, debit)
    except ConstraintBroken as exc:
        raise InsufficientFunds(f"cannot hold {Amount(msat)}", field="balance") from exc
    tx.all("account_hold_credit", msat, credit)


def resolve(tx: Transaction, id: bytes, pending: bytes, kind: TransferKind, at_ms: int) -> int:
    """Post or void a hold; the amount it had, in msat. Raises Conflict if it was resolved."""
    found = tx.one("transfer_get", pending)
    if found is None or found[3] != TransferKind.PENDING:
        raise NotFound("there is no such hold", field="pending")
    debit, credit, msat = found[:3]
    posted = msat if kind is TransferKind.POST else 0
    try:
        tx.all("transfer_insert", id, debit, credit, posted, kind, pending, "", at_ms)
    except ConstraintBroken as exc:
        raise Conflict("the hold was resolved before", field="pending") from exc
    tx.all("account_resolve_debit", msat, posted, debit)
    tx.all("account_resolve_credit", msat, posted, credit)
    return int(msat)


def move(
    tx: Transaction, id: bytes, debit: int, credit: int, msat: int, at_ms: int, memo: str = ""
) -> None:
    """Move an amount at once. Raises InsufficientFunds."""
    tx.all("transfer_insert", id, debit, credit, msat, TransferKind.SINGLE, None, memo, at_ms)
    # Credit first: an account that pays what it gets in the same breath never looks overdrawn.
    tx.all("account_credit", msat, credit)
    try:
        tx.all("account_debit", msat, debit)
    except ConstraintBroken as exc:
        raise InsufficientFunds(f"cannot move {Amount(msat)}", field="balance") from exc
