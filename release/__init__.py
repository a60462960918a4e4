"""Trained models going out: versions, cards, exports, the hub, and one beside another."""
