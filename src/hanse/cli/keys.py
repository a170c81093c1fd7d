"""Keys as people write them on the command line: npub, hex, or a handle that leads to one."""

from typing import TYPE_CHECKING

from hanse.cli.terminal import run

if TYPE_CHECKING:
    from hanse.protocol.keys import PublicKey


def key_of(text: str, field: str, agent: str, node: str | None) -> "PublicKey":
    """A public key as people write it; `name@domain` is looked up by the node, as one of this
    home's agents, and counts if domain and key name each other. Raises HanseError."""
    from hanse.cli.home import agent_of
    from hanse.errors import Invalid
    from hanse.protocol.address import encode_npub, read_public_key
    from hanse.protocol.handle import looks_like_handle

    if not looks_like_handle(text):
        return read_public_key(text, field)
    found = run(agent_of(agent, node).resolve(text))
    if not found.both:
        hint = f"if the domain's word is enough for you: {encode_npub(found.pubkey)}"
        raise Invalid.at(field, f"{found.handle}: its key does not name this handle", hint)
    return found.pubkey
