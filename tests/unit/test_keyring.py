"""The home folder: owner's eyes only, sealed under a phrase, attested, never overwritten."""

import os
import stat
from pathlib import Path

import msgspec
import pytest

from hanse.errors import Conflict, HanseError, Invalid, NotFound, WrongPassphrase
from hanse.keyring import Keyring, NodeAddress, new_secret
from hanse.protocol import attestation
from hanse.protocol.keys import PublicKey


def test_keys_are_readable_by_their_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        home = tmp_path / "home"
        ring = Keyring(home)
        ring.create()
        ring.add_agent("shopper")
        ring.remember_node(NodeAddress("ws://127.0.0.1:1", ring.operator().public))
    finally:
        os.umask(before)
    found = {str(path.relative_to(home)): path for path in home.rglob("*")}
    assert set(found) == {
        *("operator.key", "node.key", "node.auth", "node.json", "agents"),
        *("agents/default.key", "agents/default.auth", "agents/shopper.key", "agents/shopper.auth"),
    }
    for path in (home, *found.values()):
        wanted = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path


def test_every_agent_and_the_node_are_attested_by_the_operator(tmp_path: Path) -> None:
    ring = Keyring(tmp_path / "home")
    ring.create("first")
    ring.add_agent("second")
    assert ring.agents() == ["first", "second"]
    for secret, tag in (ring.agent("first"), ring.agent("second"), ring.node()):
        found = attestation.from_tags((tag,))
        assert found is not None
        assert found.owner == ring.operator().public
        attestation.check(found, secret.public, 1, 0)


def test_a_home_is_the_same_when_it_is_opened_again(tmp_path: Path) -> None:
    ring = Keyring(tmp_path / "home")
    assert not ring.exists()
    ring.create()
    again = Keyring(tmp_path / "home")
    assert again.exists()
    assert again.operator().reveal() == ring.operator().reveal()
    assert again.agent()[0].reveal() == ring.agent()[0].reveal()


def test_a_second_create_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    ring = Keyring(tmp_path / "home")
    ring.create()
    before = {path: path.read_bytes() for path in ring.home.rglob("*") if path.is_file()}
    with pytest.raises(Conflict) as caught:
        Keyring(tmp_path / "home").create("other")
    assert caught.value.field == str(ring.home)
    after = {path: path.read_bytes() for path in ring.home.rglob("*") if path.is_file()}
    assert after == before


def test_a_second_agent_of_one_name_is_refused(tmp_path: Path) -> None:
    ring = Keyring(tmp_path / "home")
    ring.create()
    key = ring.agent()[0].reveal()
    with pytest.raises(Conflict, match="default"):
        ring.add_agent("default")
    assert ring.agent()[0].reveal() == key


@pytest.mark.parametrize("name", ["", "../node", "a/b", "a b", ".hidden", "x" * 65, "a\n"])
def test_an_agent_s_name_cannot_leave_its_folder(tmp_path: Path, name: str) -> None:
    ring = Keyring(tmp_path / "home")
    with pytest.raises(Invalid) as caught:
        ring.create(name)
    assert caught.value.field == "agent"
    assert list(tmp_path.iterdir()) == []
    ring.create()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(Invalid):
        ring.add_agent(name)
    with pytest.raises(HanseError) as refused:
        ring.agent(name)
    assert refused.value.field == "agent"
    assert sorted(tmp_path.rglob("*")) == before


def test_a_sealed_home_opens_only_with_its_phrase(tmp_path: Path) -> None:
    ring = Keyring(tmp_path / "home", "correct horse")
    ring.create()
    for path in ring.home.rglob("*.key"):
        assert path.read_text().startswith("ncryptsec1")
    assert Keyring(ring.home, "correct horse").operator().public == ring.operator().public
    with pytest.raises(WrongPassphrase):
        Keyring(ring.home, "correct horsf").operator()
    with pytest.raises(WrongPassphrase) as caught:
        Keyring(ring.home).operator()
    assert caught.value.field == str(ring.home / "operator.key")
    assert "HANSE_PASSPHRASE" in caught.value.hint


def test_an_agent_added_to_a_sealed_home_is_sealed_too(tmp_path: Path) -> None:
    ring = Keyring(tmp_path / "home", "phrase")
    ring.create()
    ring.add_agent("shopper")
    assert (ring.home / "agents/shopper.key").read_text().startswith("ncryptsec1")
    with pytest.raises(WrongPassphrase):
        Keyring(ring.home).add_agent("buyer")


def test_an_open_home_opens_also_when_a_phrase_is_given(tmp_path: Path) -> None:
    ring = Keyring(tmp_path / "home")
    ring.create()
    assert Keyring(ring.home, "unused").operator().public == ring.operator().public


def test_a_folder_without_keys_says_what_to_do(tmp_path: Path) -> None:
    ring = Keyring(tmp_path)
    for missing in (ring.operator, ring.node):
        with pytest.raises(NotFound) as caught:
            missing()
        assert "hanse init" in caught.value.hint
    assert ring.agents() == []
    assert ring.known_node() is None


def test_an_unknown_agent_is_refused_with_those_there_are(tmp_path: Path) -> None:
    ring = Keyring(tmp_path / "home")
    ring.create()
    with pytest.raises(NotFound) as caught:
        ring.agent("nobody")
    assert (caught.value.field, caught.value.hint) == ("agent", "known: default")


@pytest.mark.parametrize("text", ["", "rubbish", "nsec1qqqq", "ncryptsec1qqqq", "é" * 10])
def test_a_damaged_key_is_refused_with_its_file(tmp_path: Path, text: str) -> None:
    ring = Keyring(tmp_path / "home", "phrase")
    Keyring(ring.home).create()
    (ring.home / "operator.key").write_text(text, encoding="utf-8")
    with pytest.raises(Invalid) as caught:
        ring.operator()
    assert caught.value.field == str(ring.home / "operator.key")
    if text:
        assert text not in caught.value.text


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"a": 1}'])
def test_a_damaged_attestation_or_address_is_refused_with_its_file(
    tmp_path: Path, text: str
) -> None:
    ring = Keyring(tmp_path / "home")
    ring.create()
    (ring.home / "node.auth").write_text(text)
    (ring.home / "node.json").write_text(text)
    for read, name in ((ring.node, "node.auth"), (ring.known_node, "node.json")):
        with pytest.raises(Invalid) as caught:
            read()
        assert caught.value.field == str(ring.home / name)


def test_where_the_node_is_is_remembered(tmp_path: Path) -> None:
    ring = Keyring(tmp_path / "home")
    ring.create()
    where = NodeAddress("ws://127.0.0.1:7447", new_secret().public)
    ring.remember_node(where)
    assert ring.known_node() == where
    (ring.home / "node.json").write_bytes(
        msgspec.json.encode(NodeAddress("ws://x", PublicKey("not hex")))
    )
    with pytest.raises(Invalid):
        ring.known_node()


def test_two_fresh_keys_differ() -> None:
    assert new_secret().reveal() != new_secret().reveal()
