"""The store for assistants: an MCP server with tools that read, resources, and answers that fit a context.

Knows the store's interface and the package `mcp`; knows nothing of pages or routes. `answers` keeps to the budget,
`tools` asks the store, `server` puts both behind the protocol, `http` guards it on the network.
"""
