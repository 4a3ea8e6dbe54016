"""How the front, the runner and the command line talk: messages, connections, the event loop."""
