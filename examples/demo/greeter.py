"""A provider in ten lines, with the Python SDK."""

from hanse import Agent

agent = Agent.from_home("greeter")


@agent.provide(price="500msat", latency_p95_ms=300)
def greet(name: str, formal: bool = False) -> str:
    """Write a friendly greeting for somebody by name."""
    return f"Good day, {name}." if formal else f"Hello, {name}!"


agent.run(name="Greeter")
