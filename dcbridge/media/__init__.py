"""Files that travel with messages: what they are by their bytes, and the links under which people reach them."""
