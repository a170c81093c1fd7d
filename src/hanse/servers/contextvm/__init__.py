"""The ContextVM door: MCP's JSON-RPC in kind 25910 events addressed to the node."""
