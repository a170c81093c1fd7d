-- name: call_insert
INSERT INTO call (id, caller, operator, provider, offer, capability, fingerprint, input_sha256,
                  price_msat, fee_msat, deadline_ms, opened_ms, holder, words, version, payee, state)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, 'open')
ON CONFLICT (id) DO NOTHING
RETURNING 1;

-- name: call_close
-- Only an open call closes: the guard that makes an ending happen once.
UPDATE call SET state = $1, fault = $2, detail = $3, latency_ms = $4, closed_ms = $5, output = $6,
                output_sha256 = $7, delivery = $8, receipt = $9
WHERE id = $10 AND state = 'open'
RETURNING 1;

-- name: call_get
SELECT id, caller, operator, provider, offer, capability, fingerprint, input_sha256, price_msat,
       fee_msat, deadline_ms, opened_ms, state, fault, detail, latency_ms, closed_ms, output,
       output_sha256, delivery, receipt, holder, words, version, payee
FROM call WHERE id = $1;

-- name: calls_open
SELECT id, caller, operator, provider, offer, capability, fingerprint, input_sha256, price_msat,
       fee_msat, deadline_ms, opened_ms, state, fault, detail, latency_ms, closed_ms, output,
       output_sha256, delivery, receipt, holder, words, version, payee
FROM call WHERE state = 'open' ORDER BY opened_ms;

-- name: call_receipt
SELECT receipt FROM call WHERE id = $1;

-- name: call_counts
SELECT state, count(*) FROM call GROUP BY state;
