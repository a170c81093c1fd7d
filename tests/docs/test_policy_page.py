"""The example in docs/policies.md, run as a reader would."""

import re
import sys
from pathlib import Path

import pytest
from tests.conftest import running_node
from tests.relay_peer import a_peer

from hanse.errors import HanseError
from hanse.protocol.keys import SecretKey
from hanse.servers.api.management import SUPPORTED, Management
from hanse.servers.relay.plugins import load_policies

PAGE = (Path(__file__).parents[2] / "docs/policies.md").read_text()


@pytest.fixture
def house_rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of modules, where Python looks for them."""
    found = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert found
    (tmp_path / "house_rules.py").write_text(found[1])
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "house_rules", raising=False)
    return tmp_path


async def test_the_example_refuses_shouting_over_a_socket(
    house_rules: Path, operator: SecretKey
) -> None:
    data = house_rules / "data"
    async with (
        running_node(data, operator, policies=("house_rules:no_shouting",)) as node,
        a_peer(node.url) as peer,
    ):
        await peer.keep(peer.note("hello"))
        said = await peer.publish(peer.note("HELLO"))
        assert said == (False, "restricted: event.content: please do not shout")
        await peer.prove()
        await peer.keep(peer.note("HELLO AGAIN"))


async def test_a_policy_that_fails_refuses_and_the_node_lives(
    house_rules: Path, operator: SecretKey
) -> None:
    (house_rules / "broken_rules.py").write_text(
        "def fails(event, context):\n    return 1 / len(event.content)\n"
    )
    data = house_rules / "data"
    async with (
        running_node(data, operator, policies=("broken_rules:fails",)) as node,
        a_peer(node.url) as peer,
    ):
        for content in ("", "answers by returning"):
            accepted, text = await peer.publish(peer.note(content))
            assert (accepted, text) == (False, "error: The event could not be checked.")
        await peer.ask({"limit": 1})


@pytest.mark.parametrize(
    "target", ["house_rules", "house_rules:nothing", "no_such_module:f", "asyncio:sleep"]
)
def test_a_policy_that_cannot_be_used_is_an_error_at_the_start(
    house_rules: Path, target: str
) -> None:
    with pytest.raises(HanseError, match="policy"):
        load_policies((target,))


def test_an_installed_package_brings_its_policy_by_entry_point(house_rules: Path) -> None:
    about = house_rules / "house_rules-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: house-rules\nVersion: 1\n")
    (about / "entry_points.txt").write_text(
        "[hanse.policies]\nno_shouting = house_rules:no_shouting\n"
    )
    assert [found.__name__ for found in load_policies(())] == ["no_shouting"]


def test_every_management_method_is_on_the_page() -> None:
    methods = Management(moderation=None, callers=None, admins=frozenset())._methods  # type: ignore[arg-type]
    assert [name for name in (SUPPORTED, *methods) if f"`{name}`" not in PAGE] == []
