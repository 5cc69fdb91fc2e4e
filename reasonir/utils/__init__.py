"""Ground floor: files, progress, memory and text helpers that know nothing of retrieval."""
