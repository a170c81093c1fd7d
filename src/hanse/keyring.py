"""The home folder: one small file per key, readable by its owner alone.

HOME/operator.key          nsec1… or ncryptsec1… (NIP-49)
HOME/agents/NAME.key       an agent's key, and
HOME/agents/NAME.auth      its attestation by the operator: the NIP-OA tag as JSON
HOME/node.key, node.auth   the node's own, attested too
HOME/next/                 a key that is about to take another's place, until it has
HOME/past/PUBKEY.key       keys that others took the place of
HOME/veto.key              the key that stops a recovery of the operator's: better kept elsewhere
HOME/node.json             where the node is: {"url", "pubkey"}, written by `hanse up`
HOME/data/                 the node's database
"""

import os
import secrets
from pathlib import Path

import msgspec

from hanse.errors import (
    Conflict,
    HanseError,
    Invalid,
    NotFound,
    Unavailable,
    WrongPassphrase,
)
from hanse.protocol import address, attestation, passphrase
from hanse.protocol.keys import PublicKey, SecretKey, public_key

LOG_N = 16
"""scrypt cost of a stored key: 64 MiB and about 0.2 s, NIP-49's example."""


class NodeAddress(msgspec.Struct, frozen=True):
    """Where a node is reached, and its key."""

    url: str
    pubkey: PublicKey


class Keyring:
    """The files of one home folder. `phrase` opens and seals keys; None stores them plainly."""

    def __init__(self, home: Path, phrase: str | None = None) -> None:
        self.home = home
        self._phrase = phrase

    @property
    def data(self) -> Path:
        """The node's data folder."""
        return self.home / "data"

    def exists(self) -> bool:
        """Whether `hanse init` was here."""
        return (self.home / "operator.key").exists()

    def create(self, agent: str = "default") -> None:
        """Make operator, agent and node keys with their attestations. Raises Conflict if the home
        has an operator already."""
        if self.exists():
            raise Conflict("has an operator key already", field=str(self.home))
        _check_name(agent)
        operator = new_secret()
        for name in (f"agents/{agent}", "node"):
            self._attested(name, operator)
        # Last: it is what says that this home is made, so a crash before it can be repeated.
        self._save_secret("operator.key", operator)

    def add_agent(self, name: str) -> SecretKey:
        """One more agent of this operator."""
        _check_name(name)
        if (self.home / f"agents/{name}.key").exists():
            raise Conflict("exists already", field=f"agent {name}")
        return self._attested(f"agents/{name}", self.operator())

    def agents(self) -> list[str]:
        """Names of this operator's agents."""
        return sorted(path.stem for path in (self.home / "agents").glob("*.key"))

    def operator(self) -> SecretKey:
        """The operator's key."""
        return self._load_secret("operator.key")

    def agent(self, name: str = "default") -> tuple[SecretKey, tuple[str, ...]]:
        """An agent's key and its `auth` tag."""
        _check_name(name)
        if not (self.home / f"agents/{name}.key").exists():
            known = ", ".join(self.agents()) or "none"
            raise NotFound(f"no agent {name!r} here", field="agent", hint=f"known: {known}")
        return self._load_secret(f"agents/{name}.key"), self._load_tag(f"agents/{name}.auth")

    def node(self) -> tuple[SecretKey, tuple[str, ...]]:
        """The node's key and its `auth` tag."""
        return self._load_secret("node.key"), self._load_tag("node.auth")

    def next_secret(self, agent: str | None = None) -> SecretKey:
        """The key that shall take the operator's place, or an agent's: kept before anybody hears of
        it, and the same again until `take_next`."""
        name = self._next(agent)
        if not (self.home / name).exists():
            self._save_secret(name, new_secret())
        return self._load_secret(name)

    def take_next(self, agent: str | None = None) -> list[str]:
        """Put the next key in its place, keep the old one under `past`, and attest anew what it
        answers for: their names. After a crash it can be repeated."""
        new, file = self.next_secret(agent), f"agents/{agent}.key" if agent else "operator.key"
        old = self._load_secret(file)
        if old.public != new.public:
            self._save_secret(f"past/{old.public}.key", old)
            self._save_secret(file, new)
        names = [f"agents/{agent}"] if agent else [*(f"agents/{one}" for one in self.agents())]
        if agent is None and (self.home / "node.key").exists():
            names.append("node")
        operator = self.operator()
        for name in names:
            self._attest(name, operator, self._load_secret(f"{name}.key").public)
        (self.home / self._next(agent)).unlink()
        return [name.removeprefix("agents/") for name in names]

    def veto_secret(self, *, make: bool = False) -> SecretKey:
        """The veto key of the operator's plan, if it is kept here. Raises NotFound."""
        if make and not (self.home / "veto.key").exists():
            self._save_secret("veto.key", new_secret())
        return self._load_secret("veto.key")

    def remember_node(self, found: NodeAddress) -> None:
        """Note where this home's node is reached."""
        self._write("node.json", msgspec.json.encode(found).decode())

    def known_node(self) -> NodeAddress | None:
        """Where this home's node is reached, or None."""
        path = self.home / "node.json"
        if not path.exists():
            return None
        try:
            found = msgspec.json.decode(path.read_bytes(), type=NodeAddress)
        except msgspec.DecodeError as exc:
            raise Invalid.at(str(path), "is not a node address", "run `hanse up` again") from exc
        return NodeAddress(found.url, public_key(found.pubkey, str(path)))

    # --- files --------------------------------------------------------------------------------

    def _attested(self, name: str, operator: SecretKey) -> SecretKey:
        secret = new_secret()
        self._save_secret(f"{name}.key", secret)
        self._attest(name, operator, secret.public)
        return secret

    def _attest(self, name: str, operator: SecretKey, agent: PublicKey) -> None:
        tag = attestation.attest(operator, agent).tag
        self._write(f"{name}.auth", msgspec.json.encode(tag).decode())

    def _next(self, agent: str | None) -> str:
        if agent is None:
            return "next/operator.key"
        _check_name(agent)
        return f"next/agent-{agent}.key"

    def _save_secret(self, name: str, secret: SecretKey) -> None:
        if self._phrase:
            text = passphrase.encrypt(
                secret.reveal(),
                self._phrase,
                salt=secrets.token_bytes(16),
                nonce=secrets.token_bytes(24),
                log_n=LOG_N,
            )
        else:
            text = address.encode_nsec(secret)
        self._write(name, text)

    def _load_secret(self, name: str) -> SecretKey:
        path = self.home / name
        if not path.exists():
            raise NotFound("is missing", field=str(path), hint="run `hanse init` first")
        text = path.read_text(encoding="ascii", errors="replace").strip()
        sealed = text.startswith("ncryptsec1")
        if sealed and not self._phrase:
            raise WrongPassphrase("is sealed", field=str(path), hint="set HANSE_PASSPHRASE")
        try:
            if sealed:
                return SecretKey(passphrase.decrypt(text, self._phrase or ""))
            return SecretKey(address.decode_nsec(text))
        except HanseError as exc:
            raise type(exc)(exc.reason, field=str(path), hint=exc.hint) from None

    def _load_tag(self, name: str) -> tuple[str, ...]:
        path = self.home / name
        try:
            return msgspec.json.decode(path.read_bytes(), type=tuple[str, ...])
        except FileNotFoundError as exc:
            raise NotFound("is missing", field=str(path), hint="run `hanse init` first") from exc
        except msgspec.DecodeError as exc:
            raise Invalid.at(str(path), "is not an attestation") from exc

    def _write(self, name: str, text: str) -> None:
        """Whole or not at all, for the owner's eyes only. Raises Unavailable."""
        path = self.home / name
        try:
            self._put(path, text)
        except OSError as exc:
            hint = "HANSE_HOME names the home folder"
            text = f"cannot be written: {exc.strerror}"
            raise Unavailable(text, field=str(path), hint=hint) from exc

    def _put(self, path: Path, text: str) -> None:
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.parent.mkdir(exist_ok=True, mode=0o700)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)


def _check_name(name: str) -> None:
    """An agent's name is a file's name: it must not lead elsewhere."""
    if not name.replace("-", "").replace("_", "").isalnum() or len(name) > 64:
        raise Invalid.at("agent", "use letters, digits, - and _")


def new_secret() -> SecretKey:
    """A fresh key from the operating system's randomness."""
    return SecretKey(secrets.token_bytes(32))
