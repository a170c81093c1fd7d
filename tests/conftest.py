"""What every test may use: a real node on a free loopback port, and agents connected to it."""

import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import settings
from tests.fakes import postgres_server as places
from tests.servers import NatsServer, PostgresServer, nats_server, postgres_server

from hanse.agent import Agent
from hanse.config import Config
from hanse.keyring import new_secret
from hanse.node import Node
from hanse.protocol import attestation
from hanse.protocol.amount import Amount
from hanse.protocol.keys import PublicKey, SecretKey

# A search as deep as there is time for: `./dev test` asks for the thorough one.
settings.register_profile("quick", max_examples=30, deadline=None)
settings.register_profile("thorough", max_examples=200, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """Tests run where the node runs: asyncio on uvloop."""
    return ("asyncio", {"use_uvloop": True})


@pytest.fixture(scope="session", autouse=True)
def servers_stop() -> Iterator[None]:
    """Servers that tests started end with the session: a worker may not live long enough after."""
    yield
    places.stop()


@pytest.fixture(autouse=True)
def databases_go() -> Iterator[None]:
    """What a test had PostgreSQL keep goes with it."""
    yield
    places.drop()


@pytest.fixture
def operator() -> SecretKey:
    """The key of the node's operator."""
    return new_secret()


@asynccontextmanager
async def running_node(
    folder: Path,
    operator: SecretKey,
    secret: SecretKey | None = None,
    agents: Mapping[str, PublicKey] | None = None,
    **settings: object,
) -> AsyncIterator[Node]:
    """A node with its database in `folder`, on a free port, until the block ends."""
    config = Config(data=folder, **{"port": 0, "drain_s": 0.5, **settings})  # type: ignore[arg-type]
    node = Node(config, secret or new_secret(), operator.public, agents=agents)
    async with node:
        yield node


@pytest.fixture
async def node(tmp_path: Path, operator: SecretKey) -> AsyncIterator[Node]:
    """A running node with all its doors."""
    async with running_node(tmp_path / "data", operator) as found:
        yield found


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server. A test that stops it starts it again."""
    with postgres_server() as found:
        yield found


@pytest.fixture(scope="session")
def nats() -> Iterator[NatsServer]:
    """A NATS server. A test that stops it starts it again."""
    with nats_server() as found:
        yield found


class People:
    """Makes operators' agents for one node, and connects them until the test ends."""

    def __init__(self, node: Node, stack: AsyncExitStack) -> None:
        self._node = node
        self._stack = stack

    def agent(self, operator: SecretKey | None = None, secret: SecretKey | None = None) -> Agent:
        """An agent attested by an operator (a new one if none is given), not connected."""
        secret = secret or new_secret()
        tag = attestation.attest(operator or new_secret(), secret.public).tag
        return Agent(self._node.url, secret, tag, node_key=self._node.pubkey)

    async def connected(
        self,
        credits: str | None = None,
        operator: SecretKey | None = None,
        secret: SecretKey | None = None,
    ) -> Agent:
        """An agent connected to the node, with test credits if an amount is given."""
        found = await self._stack.enter_async_context(self.agent(operator, secret))
        if credits:
            await self._node.payments.grant(
                secrets.token_hex(8), found.pubkey, Amount.parse(credits), "test"
            )
        return found


@pytest.fixture
async def people(node: Node) -> AsyncIterator[People]:
    """Agents for `node`."""
    async with AsyncExitStack() as stack:
        yield People(node, stack)


@pytest.fixture
def later() -> Callable[[int], int]:
    """Seconds from now as a Unix time."""
    import time

    return lambda seconds: int(time.time()) + seconds
