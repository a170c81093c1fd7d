"""The fuzzer: `python -m tests.fuzz.socket --seconds N`."""
