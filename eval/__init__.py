"""Blind Judgments into a WinRate."""
