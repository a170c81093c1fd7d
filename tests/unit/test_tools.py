"""The tools: what is described to a model is exactly what is checked."""

from typing import Any

import pytest

from hanse.broker import tools
from hanse.broker.desk import Desk
from hanse.broker.finding import FindServices
from hanse.broker.tools import TOOLS, Tool, tool_named
from hanse.errors import HanseError, Invalid, NotFound
from hanse.identity.resolver import Resolved
from hanse.protocol.handle import Address
from hanse.protocol.keys import PublicKey
from hanse.registry.schema import check_schema, violation

NAMES = [
    "find_services",
    "describe_service",
    "call_service",
    "get_receipt",
    "explain_trust",
    "endorse",
    "find_handle",
    "get_balance",
    "whoami",
]
GOOD: dict[str, list[dict[str, Any]]] = {
    "find_services": [
        {"words": "time"},
        {"words": "", "limit": 1},
        {
            "words": "x" * 1000,
            "max_price_msat": 0,
            "latency_p95_ms": 1,
            "success_rate": 1.0,
            "limit": 50,
        },
        {"words": "time", "max_price_msat": None, "success_rate": 0},
    ],
    "describe_service": [{"offer": "x"}, {"offer": "x" * 2000}],
    "call_service": [
        {"offer": "a", "capability": "b", "input": {}},
        {"offer": "a", "capability": "b", "input": {"deep": [{}]}, "deadline_ms": 600_000},
        {"offer": "a", "capability": "b", "input": {}, "idempotency_key": "k" * 128},
    ],
    "get_receipt": [{"id": "f" * 64}],
    "explain_trust": [
        {"subject": "f" * 64},
        {"subject": "npub1" + "q" * 58, "domain": "code.review"},
    ],
    "endorse": [
        {"subject": "f" * 64},
        {"subject": "f" * 64, "domain": "sms", "grade": 0, "days": 366, "reason": "paid late"},
    ],
    "find_handle": [{"handle": "ada@example.com"}, {"handle": "example.com"}],
    "get_balance": [{}],
    "whoami": [{}],
}
BAD: list[tuple[str, dict[str, Any], str]] = [
    ("find_services", {"version": "x" * 65}, "version"),
    ("find_services", {"takes": 5}, "takes"),
    ("find_services", {"weights": {"words": 11}}, "weights"),
    ("find_services", {"words": 1}, "words"),
    ("find_services", {"words": None}, "words"),
    ("find_services", {"words": "x" * 1001}, "words"),
    ("find_services", {"words": "x", "limit": 0}, "limit"),
    ("find_services", {"words": "x", "limit": 51}, "limit"),
    ("find_services", {"words": "x", "limit": "5"}, "limit"),
    ("find_services", {"words": "x", "limit": True}, "limit"),
    ("find_services", {"words": "x", "limit": 1.5}, "limit"),
    ("find_services", {"words": "x", "max_price_msat": -1}, "max_price_msat"),
    ("find_services", {"words": "x", "max_price_msat": 10**19}, "max_price_msat"),
    ("find_services", {"words": "x", "latency_p95_ms": 0}, "latency_p95_ms"),
    ("find_services", {"words": "x", "success_rate": 1.01}, "success_rate"),
    ("find_services", {"words": "x", "max_price": "3sat"}, "max_price"),
    ("describe_service", {}, "offer"),
    ("describe_service", {"offer": ""}, "offer"),
    ("describe_service", {"offer": "x" * 2001}, "offer"),
    ("call_service", {"offer": "a", "capability": "b"}, "input"),
    ("call_service", {"offer": "a", "capability": "b", "input": []}, "input"),
    ("call_service", {"offer": "a", "capability": "b", "input": "{}"}, "input"),
    ("call_service", {"offer": "a", "capability": 1, "input": {}}, "capability"),
    (
        "call_service",
        {"offer": "a", "capability": "b", "input": {}, "deadline_ms": 600_001},
        "deadline_ms",
    ),
    (
        "call_service",
        {"offer": "a", "capability": "b", "input": {}, "idempotency_key": "k" * 129},
        "idempotency_key",
    ),
    ("call_service", {"offer": "a", "capability": "b", "input": {}, "price": 1}, "price"),
    ("get_receipt", {"id": ["x"]}, "id"),
    ("explain_trust", {}, "subject"),
    ("explain_trust", {"subject": "x" * 129}, "subject"),
    ("explain_trust", {"subject": "x", "domain": "x" * 129}, "domain"),
    ("endorse", {"subject": "f" * 64, "grade": 11}, "grade"),
    ("endorse", {"subject": "f" * 64, "days": 367}, "days"),
    ("endorse", {"domain": "sms"}, "subject"),
    ("find_handle", {}, "handle"),
    ("find_handle", {"handle": "x" * 1000}, "handle"),
    ("get_balance", {"agent": "x"}, "agent"),
    ("whoami", {"agent": "x"}, "agent"),
]


def test_there_are_exactly_these_tools() -> None:
    assert [tool.name for tool in TOOLS] == NAMES


def test_a_tool_that_does_not_exist_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(Invalid) as caught:
        tool_named("fire_missiles" * 100)
    assert caught.value.field == "name"
    assert all(name in caught.value.hint for name in NAMES)
    assert len(caught.value.text) < 300


@pytest.mark.parametrize("tool", TOOLS, ids=NAMES)
def test_every_schema_is_one_and_stands_alone(tool: Tool) -> None:
    schema = tool.input_schema()
    check_schema(schema, tool.name)
    assert schema["type"] == "object"
    assert schema["additionalProperties"] is False
    assert "$ref" not in str(schema)


@pytest.mark.parametrize("tool", TOOLS, ids=NAMES)
def test_every_field_is_described_in_the_words_of_a_sentence(tool: Tool) -> None:
    for name, field in tool.input_schema()["properties"].items():
        assert len(field.get("description", "")) > 20, name
    assert len(tool.description) > 40
    assert tool.title


def test_only_the_call_spends() -> None:
    assert [tool.name for tool in TOOLS if tool.spends] == ["call_service"]


@pytest.mark.parametrize(
    ("name", "given"), [(name, given) for name, rows in GOOD.items() for given in rows]
)
def test_what_the_schema_allows_is_read(name: str, given: dict[str, Any]) -> None:
    tool = tool_named(name)
    assert violation(tool.input_schema(), given) is None
    assert isinstance(tool.read(given), tool.arguments)


@pytest.mark.parametrize(("name", "given", "field"), BAD)
def test_what_the_schema_forbids_is_refused_with_field_and_reason(
    name: str, given: dict[str, Any], field: str
) -> None:
    tool = tool_named(name)
    assert violation(tool.input_schema(), given) is not None
    with pytest.raises(Invalid) as caught:
        tool.read(given)
    found = caught.value
    assert field in f"{found.field} {found.reason}"
    assert found.reason
    assert not found.field.startswith(".")


async def unresolved(handle: Address, _seeker: PublicKey) -> Resolved:
    raise NotFound("nobody is looked up here", field=str(handle))


async def test_every_tool_has_a_verb_behind_it() -> None:
    # Nothing stands behind this desk: a verb that is missing raises KeyError or AssertionError,
    # one that is there goes on to use a room and fails at that.
    desk = Desk(
        registry=None,  # type: ignore[arg-type]  # deliberately empty, see above
        broker=None,  # type: ignore[arg-type]
        payments=None,  # type: ignore[arg-type]
        calls=None,  # type: ignore[arg-type]
        trust=None,  # type: ignore[arg-type]
        resolve=unresolved,
        node=None,  # type: ignore[arg-type]
        new_key=lambda: "key",
    )
    for tool in TOOLS:
        with pytest.raises((AttributeError, HanseError)):
            await desk.perform(None, tool.name, GOOD[tool.name][0])


def test_the_argument_types_are_each_used_by_a_tool() -> None:
    used = {tool.arguments for tool in TOOLS}
    assert used == {
        FindServices,
        tools.DescribeService,
        tools.CallService,
        tools.FindHandle,
        tools.GetReceipt,
        tools.ExplainTrust,
        tools.Endorse,
        tools.Nothing,
    }
