"""Texts as people see, type and compare them."""
