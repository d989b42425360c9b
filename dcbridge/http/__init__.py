"""What one HTTP connection may cost, on either side: limits of a request and of an answer, encodings, Host."""
