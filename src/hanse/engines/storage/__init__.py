"""Keeping: the log, the ledger, calls and the offers' view, in SQLite inside the process."""
