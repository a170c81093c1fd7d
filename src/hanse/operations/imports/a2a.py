"""A2A agent cards, 1.0 and 0.3: each skill is a capability that takes a message.

A card may be signed (1.0 §8.4): a JWS over the card's canonical JSON (RFC 8785) without its
signatures. A signature that is wrong refuses the card. One whose key cannot be had, or is not one
that the host of the agent's preferred address calls its own, leaves it unverified: such a key
proves nothing.
"""

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from hanse.engines.web.reader import is_loopback
from hanse.errors import HanseError, Invalid, Unavailable
from hanse.operations.imports import own
from hanse.operations.imports.listing import (
    Listing,
    Reading,
    Tools,
    held,
    line,
    name_of,
    native_id_of,
    prose,
    rows,
    summary_of,
    texts,
    tool_name,
    topics_of,
    urls_of,
    version_of,
)
from hanse.protocol import jws
from hanse.protocol.address import decode_npub
from hanse.protocol.canonical import canonical, read_json
from hanse.registry.elsewhere import EXTENSION
from hanse.registry.model import CAPABILITIES_MAX, EXAMPLES_MAX, Example

TYPE = "a2a"
SIGNATURES_MAX = 8
SKILLS_MAX = 1000
OFFERS_MAX = 200
DOCUMENT_BYTES_MAX = 256 * 1024
EMPTY_DEPTH_MAX = 64

Fetch = Callable[[str], Awaitable[Any]]
"""Reads a JSON document from the web, within the import's bounds."""

# Proto3 JSON leaves defaults out, but for fields that are REQUIRED or `optional` (§8.4.1).
_KEPT: dict[str, frozenset[str]] = {
    message: frozenset(fields.split())
    for message, fields in {
        "": "name description supportedInterfaces version capabilities defaultInputModes"
        " defaultOutputModes skills documentationUrl iconUrl",
        "supportedInterfaces": "url protocolBinding protocolVersion",
        "provider": "url organization",
        "capabilities": "streaming pushNotifications extendedAgentCard",
        "extensions": "",
        "skills": "id name description tags",
        "securitySchemes": "location name scheme flows openIdConnectUrl authorizationUrl tokenUrl"
        " scopes deviceAuthorizationUrl",
    }.items()
}


def is_card(document: dict[str, Any]) -> bool:
    """Whether it is an agent card of either version."""
    return isinstance(document.get("skills"), list) and isinstance(document.get("name"), str)


async def read(
    document: dict[str, Any], *, native_id: str = "", at: str = "", fetch: Fetch | None = None
) -> Reading:
    """A card as a listing; one of another Hanse node as one for each offer it carries. `fetch` gets
    the keys of signatures. Raises Invalid."""
    reading = Reading()
    name = document.get("name")
    if not isinstance(name, str) or not line(name, 255):
        raise Invalid.at("name", "is missing")
    addresses = _interfaces(document)
    if not addresses:
        raise Invalid.at("supportedInterfaces", "is missing", "0.3 cards have url")
    skills = rows(document.get("skills"), "skills", SKILLS_MAX)
    verified = await _checked(document, addresses, fetch)
    urls = urls_of([*addresses, at, document.get("documentationUrl")])
    shared: dict[str, Any] = {
        "type": TYPE,
        "urls": urls,
        "version": version_of(document.get("version")),
        "verified": verified,
    }
    carried = _carried(document)
    for offer in carried:
        reading.listings.append(_of_hanse(offer, document, reading, shared))
    if not carried:
        tools = Tools(reading, line(name, 100))
        for skill in skills[: CAPABILITIES_MAX + 1]:
            _put_skill(tools, skill, document)
        provider = held(document.get("provider")).get("organization")
        by = f"By {line(provider, 200)}." if line(provider, 200) else ""
        tags = [tag for skill in skills for tag in texts(skill.get("tags"))]
        reading.listings.append(
            Listing(
                native_id=native_id_of(native_id or addresses[0]),
                name=name_of(name, "agent"),
                summary=summary_of(document.get("description"), by),
                capabilities=tools.done(),
                topics=topics_of("a2a", *tags),
                **shared,
            )
        )
    return reading


def _interfaces(document: dict[str, Any]) -> list[str]:
    """Where the agent is, the preferred place first: 1.0's list, or 0.3's url and others."""
    found = [held(row).get("url") for row in _list(document.get("supportedInterfaces"))]
    if not found:
        others = [held(row).get("url") for row in _list(document.get("additionalInterfaces"))]
        found = [document.get("url"), *others]
    return [url for url in found if isinstance(url, str) and line(url, 2048)]


def _put_skill(tools: Tools, skill: dict[str, Any], document: dict[str, Any]) -> None:
    id = skill.get("id") or skill.get("name")
    if not isinstance(id, str):
        return
    modes = _modes(skill, document, "input", "Input")
    parts: dict[str, dict[str, Any]] = {}
    if not modes or any(mode.startswith("text/") for mode in modes):
        parts["message"] = {"type": "string"}
    if any("json" in mode for mode in modes):
        parts["data"] = {"type": "object"}
    if any(not mode.startswith("text/") and "json" not in mode for mode in modes):
        parts["file"] = {"type": "string", "description": "An address."}
    takes = {"type": "object", "properties": parts, "minProperties": 1}
    examples = texts(skill.get("examples"), EXAMPLES_MAX)
    shown = tuple(Example(input={"message": prose(text, 1000)}) for text in examples)
    tags = ", ".join(line(tag, 64) for tag in texts(skill.get("tags"), 20))
    tools.add(
        tool_name(id),
        title=skill.get("name"),
        description=summary_of(skill.get("description"), f"Tags: {tags}" if tags else ""),
        takes=takes,
        examples=shown if "message" in parts else (),
    )


def _modes(skill: dict[str, Any], document: dict[str, Any], own_name: str, name: str) -> list[str]:
    return texts(skill.get(f"{own_name}Modes")) or texts(document.get(f"default{name}Modes"))


def _list(found: Any) -> list[Any]:
    return found[:50] if isinstance(found, list) else []


# --- cards of other Hanse nodes -------------------------------------------------------------------


def _carried(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The offers in our own extension. They stand there as text: a reader of protocol buffers would
    drop what is empty in a schema, and its signature with it."""
    for row in _list(held(document.get("capabilities")).get("extensions")):
        if held(row).get("uri") == EXTENSION:
            found = held(held(row).get("params")).get("offers")
            if isinstance(found, list):
                return [_document(one) for one in found[:OFFERS_MAX]]
    return []


def _document(found: Any) -> dict[str, Any]:
    if not isinstance(found, str):
        raise Invalid.at(f"extension {EXTENSION}", "holds offers as text")
    return held(read_json(found, f"extension {EXTENSION}", bytes_max=DOCUMENT_BYTES_MAX))


def _of_hanse(
    offer: dict[str, Any], document: dict[str, Any], reading: Reading, shared: dict[str, Any]
) -> Listing:
    address = native_id_of(offer.get("offer"))
    tools = Tools(reading, address)
    own.put_rows(tools, rows(offer.get("capabilities"), "capabilities", CAPABILITIES_MAX))
    return Listing(
        native_id=address,
        name=name_of(offer.get("name"), document["name"]),
        summary=summary_of(offer.get("summary") or document.get("description")),
        capabilities=tools.done(),
        topics=topics_of("a2a", *texts(offer.get("topics"))),
        **(shared | {"version": version_of(offer.get("version"))}),
    )


# --- signatures -----------------------------------------------------------------------------------


async def _checked(document: dict[str, Any], addresses: list[str], fetch: Fetch | None) -> str:
    """What proves the card, "" for nothing. Raises Invalid when a signature is wrong."""
    for row in _list(document.get("signatures"))[:SIGNATURES_MAX]:
        try:
            proof = await _signature(document, held(row), addresses[0], fetch)
        except Unavailable:
            continue
        except HanseError as exc:
            raise Invalid.at("signatures", exc.text) from exc
        if proof:
            return proof
    return ""


async def _signature(
    document: dict[str, Any], row: dict[str, Any], home: str, fetch: Fetch | None
) -> str:
    """What a signature that holds proves: "" if its key is nobody's that the home names."""
    protected = row.get("protected")
    raw = jws.decode(protected, "signatures.protected")
    header = held(read_json(raw, "signatures.protected", bytes_max=jws.TEXT_MAX))
    if "crit" in header or header.get("b64") is False:
        raise Invalid.at("signatures.protected", "asks for an extension that is not known")
    kid, jku = header.get("kid"), header.get("jku")
    npub = kid if isinstance(kid, str) and kid.startswith("npub1") else ""
    key = (
        jws.public_jwk(decode_npub(npub), npub) if npub else await _kept_key(kid, jku, home, fetch)
    )
    for form in _forms(document):
        if jws.holds(str(protected), form, str(row.get("signature")), header.get("alg"), key):
            break
    else:
        raise Invalid.at("signatures", "does not hold: the card is not what was signed")
    if npub and not await _is_bound(npub, jku, home, fetch):
        return ""
    return f"signature {line(kid, 64)} at {_host(home)}"


async def _kept_key(kid: Any, jku: Any, home: str, fetch: Fetch | None) -> dict[str, Any]:
    """The key of a signature, kept at the agent's own host. Raises Unavailable if it cannot be
    had."""
    if not isinstance(jku, str) or fetch is None:
        raise Unavailable("the key is not known", field="signatures.jku")
    host = _host(home)
    near = urlsplit(jku).scheme == "http" and is_loopback(host)  # the operator named it
    if _host(jku) != host or not (urlsplit(jku).scheme == "https" or near):
        raise Unavailable("the key is kept at another host", field="signatures.jku")
    found = held(await fetch(jku))
    keys = [key for key in _list(found.get("keys")) if isinstance(key, dict)]
    for key in keys:
        if key.get("kid") == kid or (kid is None and len(keys) == 1):
            return key
    raise Unavailable("has no key of this name", field="signatures.jku")


async def _is_bound(npub: str, jku: Any, home: str, fetch: Fetch | None) -> bool:
    """Whether the agent's host says that a Nostr key is its own: in its key set, or as `_` in
    `nostr.json` (NIP-05). Anybody can sign a card of anybody's with a key of their own."""
    with contextlib.suppress(HanseError):
        kept = await _kept_key(npub, jku, home, fetch)
        own = jws.public_jwk(decode_npub(npub), npub)
        if all(kept.get(name) == own[name] for name in ("kty", "crv", "x", "y")):
            return True
    if fetch is not None:
        with contextlib.suppress(HanseError):
            parts = urlsplit(home)
            scheme = "http" if parts.scheme in ("http", "ws") else "https"
            found = held(await fetch(f"{scheme}://{parts.netloc}/.well-known/nostr.json?name=_"))
            return held(found.get("names")).get("_") == decode_npub(npub)
    return False


def _forms(document: dict[str, Any]) -> list[bytes]:
    """The canonical forms that signers make: the specification's, that of the Python SDK (which
    drops everything empty), and the card as it stands. Each says what the card says."""
    bare = {key: value for key, value in document.items() if key != "signatures"}
    found = (_present(bare, ""), _filled(bare, 0) or {}, bare)
    return list(dict.fromkeys(canonical(form, "card") for form in found))


def _present(found: dict[str, Any], message: str) -> dict[str, Any]:
    """Without the defaults that proto3 JSON leaves out."""
    kept = _KEPT.get(message, frozenset())
    out: dict[str, Any] = {}
    for key, value in found.items():
        if value is None or (key not in kept and value in ("", [], {}, False, 0)):
            continue
        if key in _KEPT and isinstance(value, dict):
            if key == "securitySchemes":
                value = {name: _scheme(one) for name, one in value.items()}
            else:
                value = _present(value, key)
        elif key in _KEPT and isinstance(value, list):
            value = [_present(one, key) if isinstance(one, dict) else one for one in value]
        out[key] = value
    return out


def _scheme(found: Any) -> Any:
    if not isinstance(found, dict):
        return found
    kept = _KEPT["securitySchemes"]
    return {
        key: _scheme(value)
        for key, value in found.items()
        if key in kept or value not in ("", [], {}, False)
    }


def _filled(found: Any, depth: int) -> Any:
    if depth > EMPTY_DEPTH_MAX:
        raise Invalid.at("card", f"is nested over {EMPTY_DEPTH_MAX} levels")
    if isinstance(found, dict):
        filled = {key: _filled(value, depth + 1) for key, value in found.items()}
        return {key: value for key, value in filled.items() if value is not None} or None
    if isinstance(found, list):
        values = [_filled(value, depth + 1) for value in found]
        return [value for value in values if value is not None] or None
    return None if found == "" else found


def _host(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""
