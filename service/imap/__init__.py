"""The way in for mail: mailboxes on IMAP servers, each of which is looked into by one process."""
