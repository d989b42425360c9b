"""The way in for mail: LMTP or SMTP, from a mail system of yours."""
