"""Real messages, spoiled: what the fuzzer sends. The same seed gives the same messages."""

import base64
import hashlib
import json
import random
from collections.abc import Callable
from typing import Any

import orjson

from hanse.protocol.event import Event, encode_event, sign_event
from hanse.protocol.keys import SecretKey
from hanse.protocol.negentropy import Negentropy

Json = Any

SECRETS = [SecretKey(bytes([number]) * 32) for number in range(1, 5)]
NUMBERS = [
    *("0", "-0", "-1", "1e3", "1.0", "1E400", "-1e-400", "NaN", "Infinity", "65535", "65536"),
    *("2147483648", "4294967296", "9007199254740991", "9007199254740992", "18446744073709551616"),
    "9" * 400,
]
STRINGS = [
    *('""', '"\\u0000"', '"\\u007f"', '"\\ud800"', '"\\udc00\\ud800"', '"\\ud83e\\udd80"', '"é"'),
    *('"\\u0041"', '"-"', '"d"', '"e"', '"ALL_RELAYS"', '"wss://"', '"ws://[::1"', '"61"', '"6'),
    *(json.dumps("0" * 64), json.dumps("F" * 64), json.dumps("a" * 3000), '"\x01"', '"\\x"'),
]
OTHERS = ["null", "true", "[]", "{}", "[[]]", "[[[[]]]]", '{"":""}', "", ",", "[" * 600]
WORDS = [text.encode("utf-8") for text in (*NUMBERS, *STRINGS, *OTHERS)]
KINDS = [0, 1, 3, 4, 5, 6, 7, 13, 16, 62, 1059, 1984, 10002, 10050, 20001, 21059, 22242, 25910]
KINDS += [30023, 31402, 40000, 65535]
TAG_NAMES = ["e", "p", "a", "d", "t", "-", "expiration", "relay", "r", "challenge", "auth", "k"]
TAG_NAMES += ["nonce", "u", "method", "payload", "", "é", "price", "delegation"]


class Raw:
    """A JSON text to be pasted as it is."""

    def __init__(self, text: bytes) -> None:
        self.text = text


class Source:
    """Draws messages. `now` in seconds is what fresh events are dated with."""

    def __init__(self, seed: int, now: int) -> None:
        self.random = random.Random(seed)
        self.now = now
        self.challenge = ""
        self.relay = ""
        self._seen = [self._event() for _ in range(8)]

    # --- well-formed ------------------------------------------------------------------------

    def event(self) -> Event:
        """A signed event; now and then one that was made before."""
        draw = self.random
        if draw.random() < 0.2:
            return draw.choice(self._seen)
        found = self._event()
        self._seen[draw.randrange(len(self._seen))] = found
        return found

    def _event(self) -> Event:
        draw = self.random
        age = draw.choice([0, 0, 0, 1, 60, 10**6, self.now, -10, -(10**5)])
        return sign_event(
            draw.choice(SECRETS),
            kind=draw.choice(KINDS),
            created_at=max(0, self.now - age),
            content=draw.choice(["", "hi", "é\x00\x7f🦀", "x" * 2000, "{}", self._wrapped()]),
            tags=[self._tag() for _ in range(draw.choice([0, 0, 1, 2, 5, 60]))],
        )

    def _tag(self) -> list[str]:
        draw = self.random
        values = [
            *(
                "",
                "x",
                "🦀\x00",
                "0" * 64,
                "A" * 64,
                self.challenge,
                self.relay,
                str(self.now + 60),
            ),
            *("-1", "1e9", "ALL_RELAYS", draw.choice(SECRETS).public, f"{10**30}"),
            f"30023:{draw.choice(SECRETS).public}:x",
            f"5:{'0' * 64}",
        ]
        return [draw.choice(TAG_NAMES), *draw.choices(values, k=draw.choice([0, 1, 1, 1, 2, 4]))]

    def _wrapped(self) -> str:
        size = self.random.choice([0, 98, 99, 200])
        return base64.b64encode(b"\x02" + self.random.randbytes(size)).decode()

    def filter(self) -> dict[str, Json]:
        """A filter that may well match something."""
        draw, known = self.random, self.event()
        found: dict[str, Json] = {}
        for key, value in (
            ("ids", [known.id]),
            ("authors", [known.pubkey, "0" * 64]),
            ("kinds", draw.sample(KINDS, 3)),
            ("since", self.now - 100),
            ("until", self.now + 100),
            ("limit", draw.choice([0, 1, 5, 500, 10**9])),
            ("search", draw.choice(["hi", "é", "lang:en", '"', "a OR b*"])),
            (f"#{draw.choice('etpdaXZ')}", ["x", known.pubkey]),
        ):
            if draw.random() < 0.25:
                found[key] = value
        return found

    def auth(self, kind: int = 22242) -> Event:
        """A proof for this connection."""
        tags = [["relay", self.relay], ["challenge", self.challenge]]
        return sign_event(self.random.choice(SECRETS), kind=kind, created_at=self.now, tags=tags)

    def message(self) -> bytes:
        """One client message as a client would write it."""
        draw = self.random
        name = draw.choice(["a", "b", "c", "x" * 64])
        event = Raw(encode_event(self.event()))
        makers: list[Callable[[], list[Json]]] = [
            lambda: ["EVENT", event],
            lambda: ["EVENT", event],
            lambda: ["REQ", name, *(self.filter() for _ in range(draw.choice([1, 1, 2, 5])))],
            lambda: ["COUNT", name, self.filter()],
            lambda: ["CLOSE", name],
            lambda: ["AUTH", Raw(encode_event(self.auth()))],
            lambda: ["NEG-OPEN", name, self.filter(), self._compared().hex()],
            lambda: ["NEG-MSG", name, self._compared().hex()],
            lambda: ["NEG-CLOSE", name],
        ]
        return written(draw.choice(makers)())

    def _compared(self) -> bytes:
        items = [(event.created_at, bytes.fromhex(event.id)) for event in self._seen]
        message = bytearray(Negentropy(items).initiate())
        for _ in range(self.random.choice([0, 0, 1, 3])):
            message[self.random.randrange(len(message))] = self.random.randrange(256)
        return bytes(message)

    # --- spoiled ----------------------------------------------------------------------------

    def text(self) -> bytes:
        """A message, spoiled on three levels or not at all."""
        draw, found = self.random, self.message()
        how = draw.random()
        if how < 0.15:
            return found
        if how < 0.55:
            return self._reshape(found)
        return self.scratch(found)

    def _reshape(self, text: bytes) -> bytes:
        """Still JSON, or nearly: values take each other's places or odd ones."""
        draw, root = self.random, json.loads(text)
        for _ in range(draw.choice([1, 1, 2, 4])):
            places = list(_places(root))
            if not places:
                break
            holder, key = draw.choice(places)
            if draw.random() < 0.3:
                other, other_key = draw.choice(places)
                holder[key] = _copy(other[other_key])
            elif draw.random() < 0.2:
                del holder[key]
            else:
                holder[key] = Raw(draw.choice(WORDS))
        if draw.random() < 0.3 and isinstance(root, list) and len(root) > 1:
            root[1] = _signed(root[1], draw.choice(SECRETS))
        return written(root)

    def scratch(self, text: bytes) -> bytes:
        """Bytes changed, cut, doubled or pasted, whatever they mean."""
        draw, found = self.random, bytearray(text)
        for _ in range(draw.choice([1, 1, 2, 8])):
            at = draw.randrange(len(found) + 1)
            end = min(len(found), at + draw.choice([1, 1, 4, 64]))
            match draw.randrange(5):
                case 0:
                    found[at:end] = draw.randbytes(end - at)
                case 1:
                    del found[at:end]
                case 2:
                    found[at:at] = found[at:end] * draw.choice([1, 2, 300])
                case 3:
                    found[at:end] = draw.choice(WORDS)
                case _:
                    other = self.message()
                    found[at:] = other[draw.randrange(len(other)) :]
        return bytes(found)

    # --- HTTP -------------------------------------------------------------------------------

    def request(self, host: str) -> bytes:
        """One HTTP request to any of the doors, perhaps spoiled, perhaps signed."""
        draw = self.random
        method, path = draw.choice(DOORS)
        body = b"" if method == "GET" else self._body(path)
        headers = [
            b"host: " + host.encode(),
            b"content-type: " + draw.choice(TYPES),
            b"accept: " + draw.choice(TYPES),
            b"content-length: %d" % len(body),
        ]
        if draw.random() < 0.5:
            url = f"http://{host}{path}"
            headers.append(b"authorization: " + self._authorization(method, url, body))
        head = b"\r\n".join([f"{method} {path} HTTP/1.1".encode(), *headers])
        if draw.random() < 0.25:
            head = self.scratch(head)
        if draw.random() < 0.1:
            return self.scratch(head + b"\r\n\r\n" + body)
        return head + b"\r\n\r\n" + body

    def _body(self, path: str) -> bytes:
        draw = self.random
        if path == "/events":
            events = [encode_event(self.event()) for _ in range(draw.choice([1, 1, 3]))]
            found = events[0] if draw.random() < 0.5 else b"[" + b",".join(events) + b"]"
        elif path in ("/query", "/count"):
            found = orjson.dumps(draw.choice([self.filter(), [self.filter(), self.filter()]]))
        else:
            method = draw.choice(["banpubkey", "listbannedpubkeys", "tools/call", "initialize"])
            params = [draw.choice(SECRETS).public, "why"]
            found = orjson.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        if draw.random() < 0.6:
            return found
        return self._reshape(found) if draw.random() < 0.5 else self.scratch(found)

    def _authorization(self, method: str, url: str, body: bytes) -> bytes:
        payload = hashlib.sha256(body).hexdigest()
        tags = [["u", url], ["method", method], ["payload", payload]]
        secret = self.random.choice(SECRETS)
        event = encode_event(sign_event(secret, kind=27235, created_at=self.now, tags=tags))
        if self.random.random() < 0.3:
            event = self.scratch(event)
        return b"Nostr " + base64.b64encode(event)


DOORS = [
    *[("POST", "/events"), ("POST", "/query"), ("POST", "/count"), ("POST", "/")] * 2,
    *[("GET", "/"), ("GET", "/.well-known/nostr.json?name=x"), ("GET", "/metrics")],
    *[("GET", "/health"), ("POST", "/mcp"), ("GET", "/mcp"), ("GET", "/api/v1/offers?query=x")],
    *[("OPTIONS", "/"), ("DELETE", "/events"), ("GET", "/%00/../é"), ("POST", "/api/v1/calls")],
]
TYPES = [b"application/json", b"application/nostr+json", b"application/nostr+json+rpc"]
TYPES += [b"text/html", b"application/x-ndjson", b"\xff", b""]


def written(value: Json) -> bytes:
    """JSON in which a `Raw` stands for itself."""
    if isinstance(value, Raw):
        return value.text
    if isinstance(value, list):
        return b"[" + b",".join(map(written, value)) + b"]"
    if isinstance(value, dict):
        parts = (json.dumps(key).encode() + b":" + written(one) for key, one in value.items())
        return b"{" + b",".join(parts) + b"}"
    return json.dumps(value).encode()


def _places(value: Json) -> list[tuple[Json, Json]]:
    """Every list item and dict value of a JSON tree, by its holder."""
    found, waiting = [], [value]
    while waiting:
        holder = waiting.pop()
        if isinstance(holder, list | dict):
            keys = range(len(holder)) if isinstance(holder, list) else list(holder)
            found += [(holder, key) for key in keys]
            waiting += [holder[key] for key in keys]
    return found


def _copy(value: Json) -> Json:
    return (
        value
        if isinstance(value, Raw)
        else json.loads(written(value), parse_constant=str)
        if not _has_raw(value)
        else Raw(written(value))
    )


def _has_raw(value: Json) -> bool:
    return isinstance(value, Raw) or any(
        isinstance(holder[key], Raw) for holder, key in _places(value)
    )


def _signed(value: Json, secret: SecretKey) -> Json:
    """A spoiled event with the id and signature that its content has, if it can have any."""
    if not isinstance(value, dict):
        return value
    fields = ("created_at", "kind", "tags", "content")
    try:
        created_at, kind, tags, content = (orjson.loads(written(value[name])) for name in fields)
        body = orjson.dumps([0, secret.public, created_at, kind, tags, content])
    except (KeyError, ValueError, TypeError):
        return value
    digest = hashlib.sha256(body).digest()
    names = {"id": digest.hex(), "pubkey": secret.public, "sig": secret.sign(digest)}
    return value | names
