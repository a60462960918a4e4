"""Comparisons into Rankings and Corrections."""
