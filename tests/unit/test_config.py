"""The node's settings: checked once, with the names that reach it."""

from pathlib import Path
from typing import Any

import pytest

from hanse.config import Config, SecretUrl, home_folder, passphrase
from hanse.engines.storage.upkeep import Keeping
from hanse.errors import Invalid
from hanse.payments.model import Fee

DATA = Path("data")


def test_the_defaults_are_a_node_on_loopback_with_every_door() -> None:
    config = Config(data=DATA)
    assert config.host == "127.0.0.1"
    assert config.doors == {"api", "mcp"}


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"port": -1}, "port"),
        ({"port": 65536}, "port"),
        ({"doors": frozenset({"api", "ftp"})}, "doors"),
        ({"doors": frozenset({"mcp"})}, "doors"),
        ({"database": SecretUrl("postgres://a"), "keeping": Keeping(bytes_max=1)}, "log-max"),
        ({"public_url": "node.example"}, "public_url"),
        ({"public_url": "ftp://node.example"}, "public_url"),
        ({"public_url": "http://node.example"}, "public_url"),
        ({"public_url": "wss://"}, "public_url"),
    ],
)
def test_a_bad_setting_is_refused_by_name(settings: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        Config(data=DATA, **settings)
    assert caught.value.field == field
    assert caught.value.reason


@pytest.mark.parametrize("ppm", [-1, 1_000_001])
def test_a_fee_is_a_share_of_the_price(ppm: int) -> None:
    with pytest.raises(Invalid, match="parts per million"):
        Fee(ppm)


def test_settings_cannot_change_after_the_start() -> None:
    with pytest.raises(AttributeError):
        Config(data=DATA).port = 1  # type: ignore[misc]  # that is what is tested


@pytest.mark.parametrize(
    ("settings", "hosts"),
    [
        ({}, {"127.0.0.1:7", "localhost:7", "[::1]:7"}),
        ({"host": "0.0.0.0"}, {"127.0.0.1:7", "localhost:7", "[::1]:7"}),
        ({"host": "10.0.0.8"}, {"127.0.0.1:7", "localhost:7", "[::1]:7", "10.0.0.8:7"}),
        ({"host": "fd00::1"}, {"127.0.0.1:7", "localhost:7", "[::1]:7", "[fd00::1]:7"}),
        (
            {"public_url": "wss://Node.Example:443/"},
            {"127.0.0.1:7", "localhost:7", "[::1]:7", "node.example"},
        ),
    ],
)
def test_the_names_that_reach_the_node_are_known(settings: dict[str, Any], hosts: set[str]) -> None:
    assert Config(data=DATA, **settings).hosts(7) == hosts


def test_the_home_folder_comes_from_the_environment_or_the_user(tmp_path: Path) -> None:
    assert home_folder({"HANSE_HOME": str(tmp_path)}) == tmp_path
    assert home_folder({"HANSE_HOME": "~/x"}) == Path.home() / "x"
    for nothing in ({}, {"HANSE_HOME": ""}):
        assert home_folder(nothing) == Path.home() / ".hanse"


def test_an_empty_passphrase_is_none() -> None:
    assert passphrase({}) is None
    assert passphrase({"HANSE_PASSPHRASE": ""}) is None
    assert passphrase({"HANSE_PASSPHRASE": "x"}) == "x"
