"""Signs of life: stale offers sink and leave; zombies, decoys and price drift are named."""

from typing import Any

import orjson
import pytest

from hanse.broker.probe import allowed, judge_probe, probe_example
from hanse.errors import Invalid
from hanse.keyring import new_secret
from hanse.protocol import kinds, rpc
from hanse.protocol.amount import Amount
from hanse.protocol.event import Event
from hanse.registry.liveness import SUNK, UNLIKE, ZOMBIE_S, Bounds, Change, Liveness, Signs
from hanse.registry.model import Capability, Example, Offer, Promise
from hanse.registry.quality import DAY_S, Quality

NOW_S = 1_800_000_000
NODE, PROVIDER = new_secret(), new_secret()
CAPABILITY = Capability(
    name="greet",
    price=Amount(1000),
    output_schema={"type": "object", "required": ["text"]},
    examples=(
        Example(input={"name": "Eve"}),
        Example(input={"name": "Ada"}, output={"text": "Hello, Ada"}, probe=True),
    ),
)


def offer(*, age_s: int = 0, source: str = "") -> Offer:
    """An offer published so long ago."""
    return Offer(
        provider=PROVIDER.public,
        operator=PROVIDER.public,
        identifier="greet",
        name="greet",
        summary="",
        capabilities=(CAPABILITY,),
        promise=Promise(),
        created_at=NOW_S - age_s,
        source=source,
    )


def signs(
    found: Offer,
    liveness: Liveness | None = None,
    calls: Quality | None = None,
    *,
    online: bool = False,
) -> Signs:
    """What is said of it now."""
    judged = liveness or Liveness()
    return judged.signs(found, "greet", calls or Quality(), online=online, now_s=NOW_S)


def test_a_new_offer_and_one_whose_provider_is_connected_are_fresh() -> None:
    assert signs(offer()) == Signs()
    assert signs(offer(age_s=400 * DAY_S), online=True) == Signs()


def test_an_offer_sinks_evenly_and_then_leaves() -> None:
    bounds = Bounds(stale_s=10 * DAY_S, gone_s=20 * DAY_S)
    found = [signs(offer(age_s=days * DAY_S), Liveness(bounds)) for days in (9, 15, 20, 21)]
    assert [one.gone for one in found] == [False, False, False, True]
    assert [one.factor for one in found[:3]] == pytest.approx([1.0, 1 - 0.5 * (1 - SUNK), SUNK])
    assert "stale: no sign of its provider for 15 days" in found[1].reasons


def test_a_provider_that_was_connected_or_delivered_keeps_its_offer_fresh() -> None:
    old = offer(age_s=100 * DAY_S)
    liveness = Liveness()
    liveness.saw(old.provider, NOW_S - DAY_S)
    assert signs(old, liveness).factor == 1
    calls = Quality()
    calls.record(True, 10, NOW_S - DAY_S)
    assert signs(old, calls=calls).factor == 1


def test_an_offer_nobody_was_ever_connected_for_is_a_zombie() -> None:
    assert any("never connected" in reason for reason in signs(offer(age_s=ZOMBIE_S + 1)).reasons)
    assert signs(offer(age_s=ZOMBIE_S + 1, source="https://example.com")).reasons == ()


def test_one_that_never_answers_well_is_a_zombie_though_it_is_connected() -> None:
    liveness = Liveness()
    calls = Quality()
    calls.record(False, 0, NOW_S, fault="too-late")
    for second in range(2):
        liveness.probed(offer().address, "greet", "too-late", NOW_S - second)
    found = signs(offer(), liveness, calls, online=True)
    assert found.reasons == ("zombie: asked 3 times, it never answered well",)


def test_probes_unlike_their_example_are_a_decoys() -> None:
    liveness = Liveness()
    for end in ("settled", UNLIKE, UNLIKE):
        liveness.probed(offer().address, "greet", end, NOW_S)
    (reason,) = signs(offer(), liveness).reasons
    assert reason == "decoy: 2 of 3 probes came back unlike its own example"


def test_a_price_that_rose_is_named_and_one_that_fell_is_not() -> None:
    liveness = Liveness()
    liveness.priced(offer().address, "greet", Change(NOW_S - 50, 1000, 1500))
    liveness.priced(offer().address, "greet", Change(NOW_S - 40, 1500, 3000))
    (reason,) = signs(offer(), liveness).reasons
    assert reason == "price drift: from 1 sat to 3 sat in 30 days, changed 2 times"
    fallen = Liveness()
    fallen.priced(offer().address, "greet", Change(NOW_S - 50, 3000, 1000))
    assert signs(offer(), fallen).reasons == ()


def test_a_provider_that_asks_another_price_than_its_offer_says_is_named() -> None:
    liveness = Liveness()
    liveness.overcharged(offer().address, "greet", NOW_S - 5)
    (reason,) = signs(offer(), liveness).reasons
    assert reason == "price drift: it asked for another price than its offer says"


@pytest.mark.parametrize(
    "wrong",
    [
        {"stale_s": 10},
        {"stale_s": 5 * DAY_S, "gone_s": DAY_S},
        {"probes_a_minute": -1},
        {"probes_a_minute": 10**6},
        {"probe_every_s": 1},
    ],
)
def test_bounds_out_of_bounds_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        Bounds(**wrong)


# --- probes -----------------------------------------------------------------------------------


def answer(result: Any = None, error: Any = None, id: str = "p") -> Event:
    """The provider's answer to a probe."""
    request = rpc.request_event(NODE, PROVIDER.public, "tools/call", {}, id="p", created_at=NOW_S)
    return rpc.answer_event(PROVIDER, request, id=id, created_at=NOW_S, result=result, error=error)


def ended(event: Event) -> str:
    """How a probe with this answer ends."""
    found = probe_example(offer(), "greet")
    assert found is not None
    return judge_probe(event, *found, "p")


@pytest.mark.parametrize(
    ("result", "error", "end"),
    [
        ({"structuredContent": {"text": "Hello, Ada"}}, None, "settled"),
        ({"structuredContent": {"text": "lorem ipsum"}}, None, UNLIKE),
        ({"structuredContent": {"words": "Hello"}}, None, "schema-violation"),
        ({"content": []}, None, "schema-violation"),
        ({"isError": True}, None, "provider-error"),
        (None, {"code": -32602, "message": "no"}, "declined-input"),
        (None, {"code": -32000, "message": "no"}, "provider-error"),
    ],
)
def test_a_probe_is_judged_as_a_call_is(result: Any, error: Any, end: str) -> None:
    assert ended(answer(result, error)) == end


def test_an_answer_to_something_else_is_malformed() -> None:
    assert ended(answer({"structuredContent": {}}, id="q")) == "malformed-answer"
    request = answer({})
    assert orjson.loads(request.content)["id"] == "p"
    assert request.kind == kinds.RPC


def test_only_an_example_that_says_so_may_be_called_for_nothing() -> None:
    assert allowed(CAPABILITY, {"name": "Ada"})
    assert not allowed(CAPABILITY, {"name": "Eve"})
    assert not allowed(CAPABILITY, {"name": "Ada", "more": 1})
    assert probe_example(offer(), "other") is None
