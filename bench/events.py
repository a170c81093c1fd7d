"""Events: how much of the bare signature check the whole pipeline keeps.

    bytes → parse → canonical form → sha256 → id check → signature check

`verify` is coincurve's public call alone on the same events; both run in turn in this one
process, on
one thread, and are counted per CPU-second. Last line: {"pipeline_per_cpu_s", "verify_per_cpu_s",
"ratio", …}.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

from coincurve import PublicKeyXOnly

from hanse.keyring import new_secret
from hanse.protocol.event import check_event, encode_event, parse_event, sign_event

AUTHORS = 200


def events(count: int) -> list[bytes]:
    """Signed notes of about 780 bytes by 200 authors, with 2 to 5 tags."""
    secrets = [new_secret() for _ in range(AUTHORS)]
    found = []
    for number in range(count):
        secret = secrets[number % AUTHORS]
        tags = [("t", f"topic{number % 50}"), ("p", secrets[(number + 1) % AUTHORS].public)]
        tags += [("e", f"{number:064x}")] * (number % 4)
        event = sign_event(
            secret,
            kind=1,
            created_at=1_700_000_000 + number,
            content=f'Event {number} says "hello" to the league.\n' + "x" * 180,
            tags=tags,
        )
        found.append(encode_event(event))
    return found


def per_cpu_second(work: Callable[[], None], count: int) -> float:
    """Operations per second of this process's CPU time."""
    start = time.process_time()
    work()
    return count / (time.process_time() - start)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer events and rounds")
    quick = parser.parse_args().quick
    count, rounds = (4_000, 5) if quick else (20_000, 11)
    raws = events(count)
    parsed = [parse_event(raw) for raw in raws]
    triples = [(bytes.fromhex(e.pubkey), bytes.fromhex(e.sig), bytes.fromhex(e.id)) for e in parsed]

    def verify() -> None:
        for pubkey, signature, digest in triples:
            assert PublicKeyXOnly(pubkey).verify(signature, digest)

    def pipeline() -> None:
        for raw in raws:
            check_event(parse_event(raw))

    def parse() -> None:
        for raw in raws:
            parse_event(raw)

    pairs = [
        (per_cpu_second(verify, count), per_cpu_second(pipeline, count)) for _ in range(rounds)
    ]
    size = sum(map(len, raws)) / count
    figures = {
        "pipeline_per_cpu_s": round(statistics.median(pair[1] for pair in pairs)),
        "verify_per_cpu_s": round(statistics.median(pair[0] for pair in pairs)),
        "ratio": round(statistics.median(pair[1] / pair[0] for pair in pairs), 3),
        "parse_per_cpu_s": round(per_cpu_second(parse, count)),
        "event_bytes": round(size),
        "events": count,
        "rounds": rounds,
    }
    print(f"{count} events of {size:.0f} bytes, {rounds} rounds in turn, one thread")
    for name, value in figures.items():
        print(f"  {name:20} {value}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
