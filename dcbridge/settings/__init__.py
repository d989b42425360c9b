"""How a process is set up, the types of settings, and what is said about wrong ones."""
