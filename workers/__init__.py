"""The RQ worker and the jobs it runs."""
