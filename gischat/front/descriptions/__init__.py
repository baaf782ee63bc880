"""The OpenAPI and AsyncAPI documents of the HTTP and websocket interfaces."""
