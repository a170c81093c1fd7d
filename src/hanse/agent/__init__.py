"""The Python SDK: an agent, talking to a node from outside.

from hanse import Agent

agent = Agent.from_home()

@agent.provide(price="2sat", latency_p95_ms=500)
def greet(name: str) -> str:
    "Greet somebody by name."
    return f"Hello, {name}"

agent.run()                                  # a provider

async with Agent.from_home() as agent:       # a consumer
    found = await agent.find("greet somebody", max_price="3sat")
    result = await agent.call(found[0], {"name": "Ada"})
"""

from hanse.agent.agent import Agent, Result, Service

__all__ = ["Agent", "Result", "Service"]
