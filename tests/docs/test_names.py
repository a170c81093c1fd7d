"""Names in the documents are names in the code: commands with their options, tools, errors."""

import re
from pathlib import Path
from typing import Any

import typer

from hanse.broker.tools import BY_NAME
from hanse.cli.app import app
from hanse.errors import HanseError

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    path
    for path in (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")))
    if path.name != "CHANGELOG.md"
]
SPANS = re.compile(r"```[^\n]*\n(.*?)```|`([^`\n]+)`", re.DOTALL)
COMMAND = re.compile(r"(?:^|(?<!from)[\s$(;&|])hanse((?: +[^\s;&|)#]+)+)")


def commands() -> dict[tuple[str, ...], Any]:
    """Every command by its words."""
    found: dict[tuple[str, ...], Any] = {}
    root: Any = typer.main.get_command(app)
    for name, command in root.commands.items():
        below = getattr(command, "commands", None)
        if below is None:
            found[(name,)] = command
        else:
            found |= {(name, sub): inner for sub, inner in below.items()}
    return found


def named_in_documents() -> list[tuple[str, list[str]]]:
    """(document, words after `hanse`) for each command line in code of the documents."""
    found = []
    for path in DOCUMENTS:
        for block, span in SPANS.findall(path.read_text()):
            for line in (block or span).splitlines():
                words = [match.split() for match in COMMAND.findall(line)]
                found += [(path.name, one) for one in words if re.match(r"[a-z]", one[0])]
    return found


def test_every_command_in_the_documents_exists_with_its_options() -> None:
    known, wrong = commands(), []
    lines = named_in_documents()
    for document, words in lines:
        command = known.get(tuple(words[:2])) or known.get(tuple(words[:1]))
        if command is None:
            wrong.append(f"{document}: hanse {' '.join(words)}")
            continue
        options = {
            option
            for parameter in command.params
            for option in (*parameter.opts, *parameter.secondary_opts)
        }
        own = words[: words.index("--")] if "--" in words else words
        for word in own:
            if word.startswith("--") and word.partition("=")[0] not in options | {"--help"}:
                wrong.append(f"{document}: hanse {' '.join(words)}: {word}")
    assert wrong == []
    assert len(lines) >= 10


def test_the_verbs_a_beginner_needs_are_in_the_readme() -> None:
    named = {words[0] for document, words in named_in_documents() if document == "README.md"}
    assert {"init", "up", "serve", "find", "call", "balance"} <= named


def test_every_tool_is_in_the_documents_and_every_tool_there_exists() -> None:
    text = "\n".join(path.read_text() for path in DOCUMENTS)
    assert [name for name in BY_NAME if f"`{name}`" not in text] == []
    looks_like_one = set(re.findall(r"`((?:find|describe|call|get)_[a-z]+)`", text))
    assert looks_like_one <= set(BY_NAME)


def test_every_option_in_the_settings_page_is_one_of_up_with_its_default() -> None:
    up = {
        option: parameter for parameter in commands()[("up",)].params for option in parameter.opts
    }
    rows = re.findall(
        r"^\| (--[a-z-]+) \| ([^|]*) \|", (ROOT / "docs/settings.md").read_text(), re.M
    )
    assert rows
    for option, default in rows:
        assert option in up, option
        actual = up[option].default
        plain = default.strip().strip("`").replace(",", "")
        if actual is not None and plain.replace(" ", "").isdigit():
            assert int(plain.replace(" ", "")) == actual, option


def test_every_error_has_a_name_of_its_own() -> None:
    def tree(root: type[HanseError]) -> list[type[HanseError]]:
        return [root, *(found for child in root.__subclasses__() for found in tree(child))]

    kinds = [kind for kind in tree(HanseError) if kind.__module__ == "hanse.errors"]
    slugs = [kind.slug for kind in kinds]
    assert len(set(slugs)) == len(slugs)
    for kind in kinds:
        again = HanseError.from_dict(kind("why", field="where", hint="how").as_dict())
        assert type(again) is kind
        assert (again.field, again.reason, again.hint) == ("where", "why", "how")
