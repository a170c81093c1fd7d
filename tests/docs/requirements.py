"""Reads docs/requirements.toml and writes docs/nips.md: `python -m tests.docs.requirements`."""

import tomllib
from pathlib import Path

import msgspec

from hanse.servers.relay.info import NIPS

ROOT = Path(__file__).parents[2]
MANIFEST, PAGE = ROOT / "docs/requirements.toml", ROOT / "docs/nips.md"
SOURCE = "https://github.com/nostr-protocol/nips/blob/master"


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One thing that a NIP demands; `tests` are FILE::NAME under tests/."""

    rule: str
    section: str
    tests: list[str]
    otherwise: str | None = None


class Nip(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One NIP. `what` is for those that NIP-11 does not list; the others have it in `info.py`."""

    title: str
    where: str
    rules: dict[str, Rule]
    what: str = ""


def read_manifest() -> dict[int, Nip]:
    """The NIPs by number."""
    found = tomllib.loads(MANIFEST.read_text())
    return {
        int(name.removeprefix("NIP-")): msgspec.convert(nip, Nip) for name, nip in found.items()
    }


def rule_id(number: int, name: str) -> str:
    """What a test's mark says."""
    return f"NIP-{number:02}.{name}"


def page(nips: dict[int, Nip]) -> str:
    """docs/nips.md."""
    lines = [
        "# NIPs",
        "",
        "What the node does of the [NIPs](https://github.com/nostr-protocol/nips), as a relay and "
        "beside it. Each",
        "rule, with its source and the tests that show it, is in [requirements.toml]"
        "(requirements.toml); this page is",
        "written from it by `./dev docs`.",
        "",
        "| NIP | | where | what | rules | tests |",
        "|---|---|---|---|---|---|",
    ]
    for number, nip in nips.items():
        tests = {test for rule in nip.rules.values() for test in rule.tests}
        what = NIPS.get(number, nip.what)
        link = f"[{number:02}]({SOURCE}/{number:02}.md)"
        lines.append(
            f"| {link} | {nip.title} | {nip.where} | {what} | {len(nip.rules)} | {len(tests)} |"
        )
    lines += [
        "",
        "`relay`: listed in NIP-11. `node`: the node does it beside its relay. `client`: the SDK.",
        "",
        "## What we do otherwise",
        "",
    ]
    for number, nip in nips.items():
        lines += [
            f"- NIP-{number:02}, {rule.section}. {rule.rule}: {rule.otherwise}"
            for rule in nip.rules.values()
            if rule.otherwise
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(read_manifest()))
