"""The door: whose request it is, who may come in, who may speak, and how often."""
