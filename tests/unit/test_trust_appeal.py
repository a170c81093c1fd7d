"""Appeals: every rule by its name."""

import json
from pathlib import Path
from typing import Any

import pytest

from hanse.errors import Invalid
from hanse.protocol.event import Event, Tags
from hanse.protocol.keys import PublicKey
from hanse.registry.schema import violation
from hanse.trust.appeal import REASON_MAX, SCHEMA, Appeal, appeal_draft, read_appeal

NOW = 1_800_000_000
A, RECEIPT = PublicKey("a" * 64), "b" * 64
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "appeal.schema.json"


def event(content: Any = None, more: Tags = (), without: str = "", kind: int = 31412) -> Event:
    text, own = appeal_draft(RECEIPT, "appeal", "it came late")
    kept = tuple(tag for tag in own if tag[0] != without)
    return Event("0" * 64, A, NOW, kind, (*kept, *more), text if content is None else content, "")


def body(**changed: Any) -> str:
    return json.dumps({"receipt": RECEIPT, "action": "grant"} | changed)


def test_what_is_drafted_is_read_back() -> None:
    found = read_appeal(event())
    assert found == Appeal(by=A, receipt=RECEIPT, action="appeal", reason="it came late", at_s=NOW)
    assert violation(SCHEMA, json.loads(event().content)) is None
    assert json.loads(PAGE.read_text()) == SCHEMA


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (event(kind=31410), "appeal.kind"),
        (event(more=(("v", "2.0.0"),), without="v"), "appeal.tags.v"),
        (event(more=(("v", "1.0.0"),)), "appeal.tags.v"),
        (event("nothing"), "appeal.content"),
        (event(body(action="forget")), "appeal.content.action"),
        (event(body(receipt="b" * 63)), "appeal.content.receipt"),
        (event(body(receipt="c" * 64)), "appeal.tags.d"),
        (event(body(reason="r" * (REASON_MAX + 1))), "appeal.content.reason"),
        (event(more=(("d", RECEIPT),)), "appeal.tags.d"),
        (event(without="e"), "appeal.tags.e"),
        (event(more=(("auth", "x"),)), "appeal.tags.auth"),
    ],
)
def test_what_is_none_is_refused_by_its_field(wrong: Event, field: str) -> None:
    with pytest.raises(Invalid) as caught:
        read_appeal(wrong)
    assert caught.value.field == field


def test_nobody_drafts_what_no_reader_would_take() -> None:
    with pytest.raises(Invalid):
        appeal_draft("no receipt", "appeal")
    with pytest.raises(Invalid):
        appeal_draft(RECEIPT, "appeal", "r" * (REASON_MAX + 1))
