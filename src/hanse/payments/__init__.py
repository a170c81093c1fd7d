"""Money: amounts, the double-entry ledger's values and rules, prices and fees."""
