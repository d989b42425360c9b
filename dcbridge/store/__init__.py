"""Redis: the connection, and what makes a write durable."""
