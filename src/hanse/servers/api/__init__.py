"""The HTTP door: the desk's tools and the operator's verbs as plain HTTP, with OpenAPI."""
