"""Feedback as frozen rows: chosen, looked at, and read back."""
