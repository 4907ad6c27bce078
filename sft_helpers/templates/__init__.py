"""Chat templates: rendered, read back line by line, compared and checked."""
