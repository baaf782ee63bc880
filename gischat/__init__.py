"""gischat: the chat behind QChat and QField. Here: what both halves share, and the fronts."""

__version__ = "0.1.0"
