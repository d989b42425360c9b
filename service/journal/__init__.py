"""Where callbacks go: to Redis, or to files while Redis is away."""
