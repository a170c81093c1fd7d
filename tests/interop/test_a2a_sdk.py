"""Agent cards between us and A2A's own Python SDK: it reads and checks ours, and we check its."""

import importlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tests.conftest import People, running_node

from hanse.errors import Invalid
from hanse.keyring import new_secret
from hanse.node import Node
from hanse.operations.imports import a2a
from hanse.protocol.address import encode_npub

pytestmark = pytest.mark.heavy

JKU = "https://pilot.example.com/jwks.json"
CARD = {
    "name": "Pilot",
    "description": "Plans berths – größere auch.",
    "version": "1.0.0",
    "supportedInterfaces": [
        {
            "url": "https://pilot.example.com/a2a",
            "protocolBinding": "JSONRPC",
            "protocolVersion": "1.0",
        }
    ],
    "capabilities": {"streaming": False},
    "defaultInputModes": ["text/plain"],
    "defaultOutputModes": ["text/plain"],
    "skills": [{"id": "a", "name": "A", "description": "d", "tags": ["t"]}],
}


class Sdk:
    """What of the SDK is used."""

    def __init__(self) -> None:
        self.signing: Any = importlib.import_module("a2a.utils.signing")
        self.card: Any = importlib.import_module("a2a.types").AgentCard
        self.format: Any = importlib.import_module("google.protobuf.json_format")
        self.jwt: Any = importlib.import_module("jwt")
        self.algorithms: Any = importlib.import_module("jwt.algorithms")

    def read(self, card: dict[str, Any]) -> Any:
        """A card as the SDK has it; it refuses fields it does not know."""
        return self.format.ParseDict(card, self.card())


@pytest.fixture
def sdk() -> Sdk:
    return Sdk()


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with running_node(tmp_path, new_secret()) as found:
        yield found


async def test_the_sdk_reads_our_cards_and_finds_their_signatures_good(
    sdk: Sdk, node: Node, people: People
) -> None:
    agent = await people.connected()

    @agent.provide(price="2sat")
    def greet(name: str) -> dict[str, Any]:
        """Greets somebody."""
        return {}

    await agent.serve()
    async with aiohttp.ClientSession(node.http_url) as session:

        async def get(path: str) -> Any:
            async with session.get(path) as found:
                return await found.json()

        keys = {key["kid"]: key for key in (await get("/.well-known/jwks.json"))["keys"]}
        verify = sdk.signing.create_signature_verifier(
            lambda kid, jku: sdk.jwt.PyJWK(keys[kid]), ["ES256K"]
        )
        npub = encode_npub(agent.pubkey)
        for path in ("", f"/agents/{npub}"):
            card = await get(f"{path}/.well-known/agent-card.json")
            verify(sdk.read(card))  # raises if no signature holds
            spoiled = card | {"description": "other"}
            with pytest.raises(sdk.signing.InvalidSignaturesError):
                verify(sdk.read(spoiled))


async def test_we_find_the_signatures_of_the_sdk_good(sdk: Sdk) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    header = {"kid": "k1", "alg": "ES256", "jku": JKU, "typ": "JOSE"}
    signer = sdk.signing.create_agent_card_signer(key, header)
    card = sdk.format.MessageToDict(signer(sdk.read(CARD)))
    jwk = json.loads(sdk.algorithms.ECAlgorithm.to_jwk(key.public_key())) | {"kid": "k1"}

    async def fetch(url: str) -> Any:
        assert url == JKU
        return {"keys": [jwk]}

    (found,) = (await a2a.read(card, fetch=fetch)).listings
    assert found.verified == "signature k1 at pilot.example.com"
    with pytest.raises(Invalid, match="does not hold"):
        await a2a.read(card | {"version": "2.0.0"}, fetch=fetch)
