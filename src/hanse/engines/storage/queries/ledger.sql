-- name: account_open
INSERT INTO account (name, kind) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING;

-- name: account_id
SELECT id FROM account WHERE name = $1;

-- name: account_get
SELECT name, kind, credits_posted - debits_posted, debits_pending FROM account WHERE name = $1;

-- name: account_list
SELECT name, kind, credits_posted - debits_posted, debits_pending FROM account ORDER BY id;

-- name: account_sum
SELECT coalesce(sum(credits_posted - debits_posted), 0) FROM account;

-- name: account_held_sum
SELECT coalesce(sum(debits_pending), 0) FROM account;

-- name: transfer_insert
INSERT INTO transfer (id, debit, credit, amount, kind, pending, memo, at_ms)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8);

-- name: transfer_get
SELECT debit, credit, amount, kind, pending, memo FROM transfer WHERE id = $1;

-- name: account_debit
UPDATE account SET debits_posted = debits_posted + $1 WHERE id = $2;

-- name: account_credit
UPDATE account SET credits_posted = credits_posted + $1 WHERE id = $2;

-- name: account_hold_debit
UPDATE account SET debits_pending = debits_pending + $1 WHERE id = $2;

-- name: account_hold_credit
UPDATE account SET credits_pending = credits_pending + $1 WHERE id = $2;

-- name: account_resolve_debit
-- $1 was on hold, $2 of it is posted.
UPDATE account SET debits_pending = debits_pending - $1, debits_posted = debits_posted + $2
WHERE id = $3;

-- name: account_resolve_credit
UPDATE account SET credits_pending = credits_pending - $1, credits_posted = credits_posted + $2
WHERE id = $3;
