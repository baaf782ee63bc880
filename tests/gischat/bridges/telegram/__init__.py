"""Mirrors gischat/bridges/matrix."""
