"""How the demo speaks: lines for a person, or one JSON object per step."""

import json
from typing import Any


class Telling:
    """Prints the steps."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json

    def step(self, title: str, **facts: Any) -> None:
        """Begin a step: a heading, or its JSON object."""
        if self._as_json:
            print(json.dumps({"step": title, **facts}), flush=True)
        else:
            print(f"\n== {title}", flush=True)

    def say(self, *lines: str) -> None:
        """Lines for a person only."""
        if not self._as_json:
            for line in lines:
                print(f"   {line}", flush=True)

    def last(self, totals: dict[str, Any]) -> None:
        """The closing figures."""
        if self._as_json:
            print(json.dumps(totals), flush=True)
        else:
            print("\n" + ", ".join(f"{name} {value}" for name, value in totals.items()))
