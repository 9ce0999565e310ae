"""The knowledge graph over a collection (networkx): extraction, merging, communities, graph retrieval. May import rag.

Nothing is in here yet; see CHANGELOG.md for what each version brings.
"""
