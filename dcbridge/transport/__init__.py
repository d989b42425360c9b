"""What carries requests to the other side: HTTP, SMTP, and the check of addresses."""
