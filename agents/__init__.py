"""LangGraph agents over a collection: tools, memory, sandbox. May import graph and rag.

Nothing is in here yet; see CHANGELOG.md for what each version brings.
"""
