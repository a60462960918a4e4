"""Data and a run to try everything with: all of it invented or simulated, and saying so."""
