"""Sign-in: sessions in a cookie, tokens, the header of a proxy, and a provider of OpenID Connect."""
