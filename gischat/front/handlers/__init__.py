"""The HTTP and websocket handlers, their access log, and the schemas of their requests and answers."""
