"""Chunking: from a parsed document to chunks. One function per strategy, all of them over one cutter.

layout.py      where tokens, blocks, sections and sentences lie, and the context of each place
cutter.py      cuts a region along the structure, within the model's limit
strategies.py  which regions: CHUNKERS, and `chunker(settings)` for the one that the settings name
"""

from rag.chunking.cutter import MAX_CHARS
from rag.chunking.strategies import CHUNKERS, chunk_document, chunk_recipe, chunker

__all__ = ["CHUNKERS", "MAX_CHARS", "chunk_document", "chunk_recipe", "chunker"]
