"""Descriptions of the programming interface, for people and for programs: OpenAPI and AsyncAPI."""
