"""The training itself, in processes of its own, and how it is followed."""
