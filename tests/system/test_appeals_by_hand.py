"""A cheat found out, and an appeal, by hand at a real node."""

import json
from pathlib import Path

import pytest
from tests.system.cli_home import Home
from tests.system.test_key_verbs import operator

SERVICE = """
def tell(town: str) -> str:
    "Tell the weather of a town."
    return town
"""


@pytest.mark.heavy
def test_a_cheat_is_told_of_pleads_and_is_forgiven(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.json("init")
    with home.started("up", "--port", "0", "--json") as running:
        url = json.loads(running.line())["url"]
        seller, voucher = (Home(tmp_path / name, HANSE_NODE=url) for name in ("seller", "voucher"))
        for one in (seller, voucher):
            one.json("init")
        (tmp_path / "service.py").write_text(SERVICE)
        home.json("vouch", operator(seller))
        home.json("vouch", operator(voucher))
        voucher.json("vouch", operator(seller), "--grade", "10")
        words = ("serve", "python", "service:tell", "--price", "2sat", "--json")
        with seller.started(*words) as serving:
            serving.line()
            called = home.json("call", "tell", "tell", '{"town": "Ulm"}', "--no-attest")
        assert called["status"] == "settled"
        assert home.json("trust", operator(seller))["level"] == 4
        before = home.json("trust", operator(voucher))["score"]

        home.json("rate", called["receipt"], "1")
        found = home.json("trust", operator(seller))
        (accused,) = [one for one in found["reasons"] if "with proof" in one["text"]]
        assert (found["level"], accused["receipt"]) == (0, called["receipt"])
        assert home.json("trust", operator(voucher))["score"] < before
        shown = home.run("trust", operator(seller), "--why").stdout
        assert f"receipt {called['receipt']}" in shown
        assert "hanse appeal RECEIPT" in shown

        seller.json("appeal", called["receipt"], "--reason", "it did rain")
        assert "it appeals: it did rain" in home.run("trust", operator(seller), "--why").stdout
        assert "level     0" in home.run("trust", operator(seller)).stdout
        home.json("appeal", called["receipt"], "--grant")
        assert home.json("trust", operator(seller))["level"] == 4
        assert home.json("trust", operator(voucher))["score"] == before
        home.json("appeal", called["receipt"], "--withdraw")
        assert home.json("trust", operator(seller))["level"] == 0
        home.json("rate", called["receipt"], "4")
        assert home.json("trust", operator(seller))["level"] == 4
        assert "64 lower-case hex" in home.refused("appeal", "receipt")
        assert "contrary" in home.refused("appeal", called["receipt"], "--grant", "--withdraw")
