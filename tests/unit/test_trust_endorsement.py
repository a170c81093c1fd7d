"""Vouches between operators: every rule by its name, quotas, and follow lists."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanse.errors import Invalid
from hanse.protocol.event import Event, Tags
from hanse.protocol.keys import PublicKey
from hanse.registry.schema import violation
from hanse.trust.endorsement import (
    FOLLOWS_MAX,
    LIFETIME_MAX_S,
    SCHEMA,
    counted_by,
    endorsement_draft,
    read_endorsement,
    read_follows,
)
from hanse.trust.model import Endorsement

NOW = 1_800_000_000
A, B, C = (PublicKey(letter * 64) for letter in "abc")
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "endorsement.schema.json"


def event(content: Any = None, tags: Tags | None = None, by: PublicKey = A, **fields: Any) -> Event:
    text, own = endorsement_draft(A, B, "sms", 5, created_at=NOW)
    body = json.loads(text) | content if isinstance(content, dict) else content
    return Event(
        id="0" * 64,
        pubkey=by,
        created_at=fields.get("created_at", NOW),
        kind=fields.get("kind", 31410),
        tags=own if tags is None else tags,
        content=text if content is None else body if isinstance(body, str) else json.dumps(body),
        sig="",
    )


def tagged(name: str, *values: str) -> Tags:
    """The usual tags with one replaced, or taken away."""
    _, own = endorsement_draft(A, B, "sms", 5, created_at=NOW)
    kept = tuple(tag for tag in own if tag[0] != name)
    return (*kept, *((name, value) for value in values))


@pytest.mark.parametrize("domain", ["", "sms", "code.review"])
def test_what_is_drafted_is_read_back(domain: str) -> None:
    content, tags = endorsement_draft(A, B, domain, 7, created_at=NOW, reason="met in Lübeck")
    found = read_endorsement(Event("0" * 64, A, NOW, 31410, tags, content, ""))
    assert found == Endorsement(
        by=A, of=B, domain=domain, grade=7, at_s=NOW, expires_s=NOW + 180 * 86_400
    )
    assert violation(SCHEMA, json.loads(content)) is None
    assert violation(SCHEMA, {"subject": B, "domain": "", "grade": 11})


def test_the_schema_in_the_documents_is_the_one_that_holds() -> None:
    assert json.loads(PAGE.read_text()) == SCHEMA


@pytest.mark.parametrize(
    ("found", "field"),
    [
        (event(kind=1), "endorsement.kind"),
        (event("not json"), "endorsement.content"),
        (event({"grade": 11}), "endorsement.content.grade"),
        (event({"grade": -1}), "endorsement.content.grade"),
        (event({"grade": 4.5}), "endorsement.content.grade"),
        (event({"subject": "B" * 64}), "endorsement.content.subject"),
        (event({"domain": "a:b"}), "endorsement.content.domain"),
        (event({"domain": "a..b"}), "endorsement.content.domain"),
        (event({"domain": "a" * 129}), "endorsement.content.domain"),
        (event({"reason": "a" * 501}), "endorsement.content.reason"),
        (event({"domain": "mail"}), "endorsement.tags.t"),
        (event({"subject": C}), "endorsement.tags.p"),
        (event(by=B), "endorsement.pubkey"),
        (event(tags=tagged("d", f"{B}:sms:x")), "endorsement.tags.d"),
        (event(tags=tagged("p", B, C)), "endorsement.tags.p"),
        (event(tags=tagged("v", "2.0.0")), "endorsement.tags.v"),
        (event(tags=tagged("v")), "endorsement.tags.v"),
        (event(tags=tagged("expiration")), "endorsement.tags.expiration"),
        (event(tags=tagged("expiration", "soon")), "endorsement.tags.expiration"),
        (event(tags=tagged("expiration", str(NOW))), "endorsement.tags.expiration"),
        (event(tags=tagged("auth", C)), "endorsement.tags.auth"),
    ],
)
def test_what_is_wrong_is_refused_by_its_name(found: Event, field: str) -> None:
    with pytest.raises(Invalid) as refused:
        read_endorsement(found)
    assert refused.value.field == field


def test_a_minor_version_may_say_more() -> None:
    found = event({"mood": "good"}, tags=tagged("v", "1.9.0"))
    assert read_endorsement(found).grade == 5


def test_an_endless_one_ends_with_the_longest_life() -> None:
    found = read_endorsement(event(tags=tagged("expiration", "9" * 15)))
    assert found.expires_s == NOW + LIFETIME_MAX_S


@pytest.mark.parametrize(
    "changed",
    [{"subject": A}, {"grade": 11}, {"lifetime_s": LIFETIME_MAX_S + 1}, {"reason": "x" * 501}],
)
def test_what_no_reader_would_take_is_not_drafted(changed: dict[str, Any]) -> None:
    fields: dict[str, Any] = {"by": A, "subject": B, "created_at": NOW} | changed
    with pytest.raises(Invalid):
        endorsement_draft(**fields)


CLAIMS = st.lists(
    st.builds(
        lambda by, of, at, grade: Endorsement(
            by=by, of=of, grade=grade, at_s=NOW - at, expires_s=NOW + 1000
        ),
        st.sampled_from("ab"),
        st.sampled_from("cdefgh"),
        st.integers(0, 86_400 * 100),
        st.integers(0, 3),
    ),
    max_size=30,
)


@given(CLAIMS, st.integers(0, 2**16))
def test_quotas_by_level_do_not_depend_on_the_order_of_arrival(
    claims: list[Endorsement], seed: int
) -> None:
    quotas = {"a": 2, "b": 0}
    counted = counted_by(claims, quotas.__getitem__, NOW)
    mixed = claims + claims
    random.Random(seed).shuffle(mixed)
    assert counted_by(mixed, quotas.__getitem__, NOW) == counted
    assert all(found.by == "a" for found in counted)
    months: dict[int, set[str]] = {}
    for found in counted:
        months.setdefault(found.at_s // (30 * 86_400), set()).add(found.of)
    assert all(len(subjects) <= 2 for subjects in months.values())


def test_a_follow_list_names_well_formed_keys_once_and_not_its_author() -> None:
    names = [B, B, A, "nonsense", C]
    follows = Event("0" * 64, A, NOW, 3, tuple(("p", name) for name in names), "", "")
    assert read_follows(follows) == (B, C)
    many = tuple(("p", f"{number:064x}") for number in range(FOLLOWS_MAX + 5))
    assert len(read_follows(Event("0" * 64, A, NOW, 3, many, "", ""))) == FOLLOWS_MAX
    with pytest.raises(Invalid, match=r"follows\.kind"):
        read_follows(event())
