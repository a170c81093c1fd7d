"""The demo: operators, providers, cheaters and a consumer around one node. `./dev demo`."""
