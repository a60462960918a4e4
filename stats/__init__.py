"""Statistics of votes: estimates with their intervals, or a sentence why there is none."""
