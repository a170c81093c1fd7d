"""A short run of the fuzzer; `python -m tests.fuzz.socket --seconds 600` is the long one."""

import asyncio
import os
from pathlib import Path

import pytest
from tests.fuzz.mutate import Source
from tests.fuzz.socket import fuzz

SECONDS = float(os.environ.get("HANSE_FUZZ_S", "20"))
SEED = 1


def test_the_same_seed_gives_the_same_messages() -> None:
    one, two, other = Source(1, 10**9), Source(1, 10**9), Source(2, 10**9)
    texts = [one.text() for _ in range(50)]
    assert [two.text() for _ in range(50)] == texts
    assert [other.text() for _ in range(50)] != texts


@pytest.mark.heavy
def test_whatever_is_sent_is_answered_or_cut_off_and_never_a_fault_of_ours(tmp_path: Path) -> None:
    report = asyncio.run(fuzz(SECONDS, SEED, tmp_path))
    assert report.broken == [], report.text
    assert min(report.sent[kind] for kind in ("text", "frame", "request")) > 20
