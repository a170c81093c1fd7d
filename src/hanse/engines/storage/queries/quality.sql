-- name: view_hold
-- How far a view is, with its row locked: of two nodes that go on with it one waits for the other.
UPDATE view SET seq = seq WHERE name = $1 RETURNING seq;

-- name: view_begin
INSERT INTO view (name, seq) VALUES ($1, 0) ON CONFLICT (name) DO NOTHING;

-- name: calls_ended_after
-- Ended calls in the order of their receipts. The plus keeps the planner off the index of kinds.
SELECT event.seq, call.id, call.offer, call.capability, call.version, call.caller, call.provider,
       call.operator, call.payee, call.state, call.fault, call.latency_ms, call.closed_ms,
       call.price_msat, call.fee_msat,
       call.fault = 'provider-error' AND substr(call.detail, 1, 13) = 'rate-limited:'
FROM event JOIN call ON call.receipt = event.id
WHERE event.seq > $1 AND event.seq <= $2 AND +event.kind = 2402
ORDER BY event.seq LIMIT $3;

-- name: receipts_after
-- Receipts that other nodes signed.
SELECT event.seq, event.json
FROM event LEFT JOIN call ON call.receipt = event.id
WHERE event.seq > $1 AND event.seq <= $2 AND +event.kind = 2402 AND call.id IS NULL
ORDER BY event.seq LIMIT $3;

-- name: tally_get
SELECT tally FROM quality
WHERE source = $1 AND address = $2 AND capability = $3 AND major = $4 AND payer = $5 AND span = $6
      AND slot = $7;

-- name: tally_set
INSERT INTO quality (source, address, capability, major, payer, span, slot, tally)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (source, address, capability, major, payer, span, slot)
DO UPDATE SET tally = excluded.tally;

-- name: tallies
-- A page in the order of the key.
SELECT address, capability, major, payer, span, slot, tally FROM quality
WHERE source = '' AND (address, capability, major, payer, span, slot) > ($1, $2, $3, $4, $5, $6)
ORDER BY address, capability, major, payer, span, slot LIMIT $7;

-- name: tallies_said
-- What one node's receipts say.
SELECT address, capability, major, payer, span, slot, tally FROM quality
WHERE source = $1 ORDER BY address LIMIT $2;

-- name: tallies_drop
DELETE FROM quality WHERE span = $1 AND slot < $2;

-- name: tallies_clear
DELETE FROM quality;

-- name: trade_add
INSERT INTO trade (payer, payee, paid, received) VALUES ($1, $2, $3, $4)
ON CONFLICT (payer, payee)
DO UPDATE SET paid = trade.paid + excluded.paid, received = trade.received + excluded.received;

-- name: trades
SELECT payer, payee, paid, received FROM trade LIMIT $1;

-- name: trades_clear
DELETE FROM trade;

-- name: trader_set
INSERT INTO trader (agent, operator) VALUES ($1, $2)
ON CONFLICT (agent) DO UPDATE SET operator = excluded.operator;

-- name: traders_clear
DELETE FROM trader;

-- name: outside_add
INSERT INTO outside (account, msat) VALUES ($1, $2)
ON CONFLICT (account) DO UPDATE SET msat = outside.msat + excluded.msat;

-- name: outside_by_operator
SELECT coalesce(trader.operator, outside.account), sum(outside.msat)
FROM outside LEFT JOIN trader ON trader.agent = outside.account
GROUP BY coalesce(trader.operator, outside.account);
