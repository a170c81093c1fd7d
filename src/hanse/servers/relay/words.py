"""What an operator says of the relay (NIP-11): each word, how long it may be, and what it must be.

The settings give them; NIP-86 may change the name, the description and the icon.
"""

import re
from typing import Final

import msgspec

from hanse.errors import Invalid, TooLarge
from hanse.protocol.keys import PublicKey

LINK_MAX: Final = 2000

LENGTHS_MAX: Final = {
    "name": 200,
    "description": 1000,
    "contact": 200,
    "icon": LINK_MAX,
    "banner": LINK_MAX,
    "posting_policy": LINK_MAX,
    "privacy_policy": LINK_MAX,
    "terms_of_service": LINK_MAX,
}
"""Characters of each word."""

LINKS: Final = ("icon", "banner", "posting_policy", "privacy_policy", "terms_of_service")

CHANGED: Final = ("name", "description", "icon")
"""What NIP-86 changes."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_LINK = re.compile(r"https?://[^\s/?#@]+([/?#]\S*)?")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S+")


class Words(msgspec.Struct, frozen=True, kw_only=True):
    """All but the name. An empty one is left out; `pubkey` None is the operator's."""

    description: str = "A Hanse node: a relay, a registry of paid services, and a broker of calls."
    pubkey: PublicKey | None = None
    contact: str = ""
    icon: str = ""
    banner: str = ""
    posting_policy: str = ""
    privacy_policy: str = ""
    terms_of_service: str = ""

    def __post_init__(self) -> None:
        for word in ("description", "contact", *LINKS):
            text = getattr(self, word)
            check_word(word, text)
        if self.contact and not _URI.fullmatch(self.contact):
            raise Invalid.at("contact", "must be a URI", "e.g. mailto:you@relay.example")

    def said(self) -> dict[str, str]:
        """Those that say something, by NIP-11's names, without the key."""
        found = {word: getattr(self, word) for word in ("description", "contact", *LINKS)}
        return {word: text for word, text in found.items() if text}


def check_word(word: str, text: str) -> None:
    """Raises Invalid or TooLarge for what no document should say, whoever says it."""
    most = LENGTHS_MAX[word]
    if len(text) > most:
        raise TooLarge(f"is over {most} characters", field=word)
    if _CONTROL.search(text.replace("\n", "") if word == "description" else text):
        raise Invalid.at(word, "has control characters")
    if text and word in LINKS and not _LINK.fullmatch(text):
        raise Invalid.at(word, "must be an http:// or https:// URL")
    if word == "name" and not text.strip():
        raise Invalid.at(word, "is empty")
