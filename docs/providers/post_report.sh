#!/bin/sh
# Posts one mail, read from standard input, to a bridge's status callback: for the pipe of a mail server.
#
#   post_report.sh CONFIG [KEEP]
#
# CONFIG is a file for `curl --config`, readable by the mail server's user for this pipe and by nobody else:
#
#   url = "https://bridge.example.com/callbacks/post/status"
#   header = "Authorization: Bearer <callback_secret>"
#
# Exit code 75 is "try again later" to every mail server (EX_TEMPFAIL): whatever is wrong, the mail stays in its queue.
# Only what the bridge will never take (400, 413, 415, 422) leaves it; that is kept in the folder KEEP, where one is
# named, else it stays in the queue as well. Nothing that is printed holds the secret, an address or the mail.

LIMIT=1000000   # bytes that are posted: the fields stand before the returned message; DCBRIDGE_BODY_LIMIT is 1048576
PATIENCE=30     # seconds for the whole request
umask 077

later() {
    echo "dcbridge: report not posted: $1" >&2
    exit 75
}

trap 'later "interrupted"' HUP INT TERM
config=$1 keep=$2 mail=
[ -n "$config" ] || later "no configuration file is named"
[ -r "$config" ] || later "the configuration file cannot be read"
[ -z "$(find -L "$config" -perm -004 2>/dev/null)" ] || later "the configuration file can be read by everybody"
command -v curl >/dev/null || later "curl is not installed"
mail=$(mktemp) || later "no space for a temporary file"
trap 'rm -f "$mail"' EXIT

{ head -c "$LIMIT" >"$mail" && cat >/dev/null; } || later "the mail cannot be written to a temporary file"
[ -s "$mail" ] || later "the mail is empty"

# -q: no ~/.curlrc. The configuration comes last, so that it may say more, as a private authority's `cacert`.
answer=$(curl -q --silent --output /dev/null --write-out '%{http_code}' --max-time "$PATIENCE" --request POST \
    --header 'Content-Type: message/rfc822' --header 'Expect:' --data-binary "@$mail" --config "$config" 2>/dev/null)
failed=$?
[ "$failed" -eq 0 ] || later "curl ended with $failed"

case $answer in
2??) exit 0 ;;
400 | 413 | 415 | 422)
    [ -n "$keep" ] || later "the bridge will not take it (answered $answer), and no folder to keep it is named"
    name=$keep/$(date -u +%Y%m%dT%H%M%SZ)-$$.eml
    cp "$mail" "$name" || later "the bridge will not take it (answered $answer), and it cannot be kept"
    echo "dcbridge: report kept: the bridge will not take it (answered $answer)" >&2
    exit 0
    ;;
*) later "answered $answer" ;;
esac
