"""Any document is a reading or refused by name: no reader of foreign lists breaks on one."""

import asyncio
import copy
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from hanse.errors import HanseError
from hanse.keyring import new_secret
from hanse.operations.imports import a2a, announced, ard, mcp, openapi, x402
from hanse.operations.imports.listing import Reading
from hanse.operations.imports.sources import Source
from hanse.operations.imports.statement import statement
from hanse.protocol import kinds
from hanse.protocol.event import sign_event
from hanse.registry.offer_event import read_offer

SECRET = new_secret()
SOURCE = Source(url="https://source.example.com/", kind="mcp")

ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),  # what a reader of JSON can give us
    st.floats(allow_nan=False),
    st.text(max_size=20),
    st.lists(st.one_of(st.none(), st.text(max_size=5), st.integers(-9, 9)), max_size=3),
    st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
)

DOCUMENTS: dict[str, dict[str, Any]] = {
    "openapi": {
        "openapi": "3.0.0",
        "info": {"title": "t", "version": "1", "termsOfService": "x"},
        "servers": [{"url": "/v1/{a}", "variables": {"a": {"default": "x"}}}],
        "paths": {
            "/a/{b}": {
                "parameters": [{"$ref": "#/components/parameters/P"}],
                "post": {
                    "operationId": "a",
                    "tags": ["t"],
                    "parameters": [{"name": "c", "in": "query", "content": {"x": {"schema": {}}}}],
                    "requestBody": {
                        "content": {"application/json": {"schema": {"type": "object"}}}
                    },
                    "responses": {
                        "200": {
                            "content": {
                                "application/json": {"schema": {"$ref": "#/components/schemas/S"}}
                            }
                        }
                    },
                },
            }
        },
        "components": {
            "schemas": {
                "S": {
                    "type": "object",
                    "nullable": True,
                    "properties": {"a": {"$ref": "#/components/schemas/S"}},
                    "minimum": 1,
                    "exclusiveMinimum": True,
                    "enum": [1],
                }
            },
            "parameters": {"P": {"name": "b", "in": "path", "schema": {"type": "string"}}},
        },
    },
    "mcp": {
        "servers": [
            {
                "server": {
                    "name": "a/b",
                    "title": "t",
                    "description": "d",
                    "version": "1",
                    "remotes": [{"type": "sse", "url": "https://a.example"}],
                    "packages": [{"registryType": "npm"}],
                    "repository": {"url": "https://r.example"},
                    "tools": [{"name": "t", "annotations": {"title": "x"}, "inputSchema": {}}],
                    "_meta": {mcp.PROVIDED: {"tools": []}},
                },
                "_meta": {
                    mcp.OFFICIAL: {"status": "active", "isLatest": True},
                    "hanse/offer": {
                        "capabilities": [
                            {
                                "name": "x",
                                "schema": {},
                                "examples": [{"input": {}}],
                                "priceMsat": 5,
                            }
                        ]
                    },
                },
            }
        ],
        "metadata": {"nextCursor": "x"},
    },
    "a2a": {
        "name": "n",
        "description": "d",
        "version": "1",
        "url": "https://a.example",
        "additionalInterfaces": [{"url": "https://b.example"}],
        "capabilities": {"extensions": [{"uri": "x", "params": {}}]},
        "provider": {"organization": "o"},
        "defaultInputModes": ["text/plain"],
        "skills": [{"id": "s", "name": "n", "description": "d", "tags": ["t"], "examples": ["e"]}],
        "signatures": [{"protected": "e30", "signature": "AAAA"}],
    },
    "ard": {
        "specVersion": "1.0",
        "entries": [
            {
                "identifier": "urn:air:a.example:b",
                "displayName": "d",
                "type": "application/mcp-server-card+json",
                "data": {"name": "a/b", "description": "d", "remotes": []},
                "tags": ["t"],
                "representativeQueries": ["q"],
            }
        ],
    },
    "x402": {
        "x402Version": 2,
        "items": [
            {
                "resource": "https://a.example/x",
                "type": "http",
                "accepts": [
                    {
                        "scheme": "exact",
                        "extra": {"name": "USDC"},
                        "outputSchema": {
                            "input": {"method": "GET", "queryParams": {"a": {"type": "string"}}},
                            "output": {"type": "object", "properties": {}},
                        },
                    }
                ],
                "metadata": {"name": "n", "category": "c"},
                "extensions": {
                    "bazaar": {
                        "info": {"input": {"method": "GET"}},
                        "schema": {
                            "properties": {
                                "input": {"properties": {"body": {"type": "object"}}},
                                "output": {"properties": {"example": {"type": "object"}}},
                            }
                        },
                    }
                },
            }
        ],
        "pagination": {"total": 1},
    },
    "nostr": {
        "serverInfo": {"name": "n", "version": "1"},
        "tools": [{"name": "t", "inputSchema": {}}],
        "resources": [{"uri": "x"}],
        "resourceTemplates": [{"name": "n", "uriTemplate": "a{b}"}],
        "prompts": [{"name": "p", "arguments": [{"name": "a", "required": True}]}],
        "name": "n",
        "about": "a",
        "nip90Params": {"a": {"values": ["b"]}},
    },
}


def places(found: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document."""
    inner: list[tuple[Any, ...]] = [path]
    if isinstance(found, dict):
        for key, value in found.items():
            inner += places(value, (*path, key))
    elif isinstance(found, list):
        for index, value in enumerate(found):
            inner += places(value, (*path, index))
    return inner


@st.composite
def spoiled(draw: st.DrawFn) -> tuple[str, Any]:
    """A good document with something odd in one to three places."""
    kind = draw(st.sampled_from(sorted(DOCUMENTS)))
    found: Any = copy.deepcopy(DOCUMENTS[kind])
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(places(found)[1:] or [()]))
        if not path:
            break
        holder = found
        for part in path[:-1]:
            holder = holder[part]
        if draw(st.booleans()) and isinstance(holder, dict):
            del holder[path[-1]]
        else:
            holder[path[-1]] = draw(ODD)
    return kind, found


def read(kind: str, document: Any) -> Reading:
    """What the reader of this kind makes of it."""
    if kind == "openapi":
        return openapi.read(document, at="https://a.example/openapi.json")
    if kind == "mcp":
        mcp.next_cursor(document)
        return mcp.read_page(document)
    if kind == "a2a":
        return asyncio.run(a2a.read(document))
    if kind == "ard":
        return asyncio.run(ard.read(document))
    if kind == "x402":
        return x402.read_page(document)
    content = orjson.dumps(document).decode()
    events = [
        sign_event(SECRET, kind=number, created_at=1, content=content, tags=(("k", "5001"),))
        for number in sorted(announced.KINDS)
    ]
    return announced.read(events)


@given(spoiled())
@settings(max_examples=300)
def test_a_spoiled_document_is_a_reading_or_refused_by_name(case: tuple[str, Any]) -> None:
    kind, document = case
    try:
        reading = read(kind, document)
    except HanseError:
        return
    for listing in reading.listings:
        # What was read can be said: our own door takes it.
        event = statement(SOURCE, listing, SECRET, 1000, shared=True)
        offer = read_offer(event)
        assert offer.source == SOURCE.url
        assert event.kind == kinds.OFFER


def test_the_documents_are_good_to_begin_with() -> None:
    for kind, document in DOCUMENTS.items():
        if kind == "a2a":
            document = {key: value for key, value in document.items() if key != "signatures"}
        reading = read(kind, document)
        assert reading.listings, (kind, reading.refused)
