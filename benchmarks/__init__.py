"""Measurements, as ratios and percentiles of one run; never asserted in a test."""
