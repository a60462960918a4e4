"""Prompts into Responses, through an OpenAI-compatible endpoint."""
