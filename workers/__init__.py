"""The hands: the RQ worker and the jobs it runs."""
