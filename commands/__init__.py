"""What ``cli.py`` can be told, each command in the file of its subject."""
