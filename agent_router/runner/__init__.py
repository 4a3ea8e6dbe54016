"""The process that owns plugins: starts, watches, limits, stops and remembers them.

It knows the plugin protocol (docs/plugin-protocol.md) and nothing of HTTP or JSON Schema.
"""
