"""`hanse up --about WORD=TEXT`: what an operator says of the relay, by NIP-11's words."""

from typing import TYPE_CHECKING, Annotated

import typer

from hanse.errors import Invalid

if TYPE_CHECKING:
    from hanse.servers.relay.words import Words

About = Annotated[
    list[str] | None,
    typer.Option(help="WORD=TEXT, e.g. contact=mailto:…; docs/settings.md has the words."),
]


def words(texts: list[str] | None) -> "Words":
    """What the settings say. Raises Invalid."""
    from hanse.protocol.address import read_public_key
    from hanse.servers.relay.words import Words

    said: dict[str, str] = {}
    for text in texts or ():
        word, equals, value = text.partition("=")
        if not equals or word not in Words.__struct_fields__:
            known = ", ".join(Words.__struct_fields__)
            raise Invalid.at("about", f"{text[:60]!r} is not WORD=TEXT", f"a word of {known}")
        said[word] = read_public_key(value, word) if word == "pubkey" else value
    return Words(**said)  # type: ignore[arg-type]  # the one that is no text was read as a key
