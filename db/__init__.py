"""The truth: tables, sessions, migrations and the people whose roles guard them."""
