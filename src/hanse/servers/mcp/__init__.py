"""The MCP door: the six tools through the official SDK, over streamable HTTP and stdio."""
