"""Mirrors gischat/bridges."""
