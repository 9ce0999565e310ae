"""The HTTP API: what OpenAI clients know, and documents, searches and jobs beside it."""
