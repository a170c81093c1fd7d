"""Coverage-guided fuzzing of what reads a stranger's bytes, in this process and without I/O.

    python -m tests.fuzz.inside [-max_total_time=600] [FOLDER]     libFuzzer's own flags

It needs atheris, whose wheels are for Linux on x86-64. An exception that is none of ours ends the
run, with the bytes that did it in a file.
"""

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["hanse"]):
    from tests.fakes.admission import Door

    from hanse.errors import HanseError
    from hanse.protocol import encryption, http_auth, negentropy
    from hanse.protocol.address import read_public_key
    from hanse.protocol.canonical import canonical, read_json
    from hanse.protocol.event import check_event, encode_event, parse_event
    from hanse.protocol.handle import handle_name
    from hanse.protocol.message import parse_relay_message
    from hanse.protocol.rpc import parse_rpc
    from hanse.protocol.session import Limits, Session

from tests.fuzz.mutate import Source

NOW = 1_700_000_000
DOOR = Door()
POLICIES = (*DOOR.admission.early, *DOOR.admission.late)
ITEMS = [(NOW + number // 3, bytes([number]) * 32) for number in range(40)]


def session(data: bytes) -> None:
    """A conversation: a message a line."""
    found = Session("challenge", frozenset({"127.0.0.1"}), Limits())
    for line in data.split(b"\n"):
        found.receive(line, NOW)


def event(data: bytes) -> None:
    """An event, as far as it can be read; what is good reads back."""
    found = parse_event(data)
    assert parse_event(encode_event(found)) == found
    context = DOOR.context()
    # What each of them may answer: a refusal by name.
    for reader in (check_event, parse_rpc):
        with contextlib.suppress(HanseError):
            reader(found)
    for policy in POLICIES:
        with contextlib.suppress(HanseError):
            policy(found, context)


def _text(read: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda data: read(
        data.decode("utf-8", "surrogatepass" if data[:1] == b"!" else "ignore")
    )


READERS: list[Callable[[bytes], object]] = [
    session,
    event,
    parse_relay_message,
    lambda data: negentropy.Negentropy(ITEMS).respond(data),
    lambda data: negentropy.Negentropy(ITEMS, frame_bytes_max=4096).reconcile(data),
    lambda data: canonical(read_json(data, "x", bytes_max=1 << 16)),
    _text(http_auth.read_header),
    _text(handle_name),
    _text(lambda text: read_public_key(text, "key")),
    _text(lambda text: encryption.decrypt(text, bytes(32))),
]


def one(data: bytes) -> None:
    """The first byte says who reads the rest."""
    if not data:
        return
    # A refusal by name is an answer; some readers are given text, and these bytes may be none.
    with contextlib.suppress(HanseError, UnicodeDecodeError):
        READERS[data[0] % len(READERS)](data[1:])


def seeds(folder: str) -> None:
    """Real messages to begin with."""
    source = Source(1, NOW)
    for number in range(200):
        spoken = bytes([0]) + source.message()
        alone = bytes([1]) + encode_event(source.event())
        (Path(folder) / f"seed-{number}").write_bytes(spoken if number % 2 else alone)


def main(arguments: list[str]) -> None:
    """Fuzz until libFuzzer ends the process: what it is asked for is done, or something broke."""
    folders = [argument for argument in arguments[1:] if not argument.startswith("-")]
    for folder in folders[:1]:
        seeds(folder)
    atheris.Setup(arguments, one)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
