"""Files into Prompts, human Responses and imported Rankings."""
