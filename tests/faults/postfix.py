"""Debian's Postfix as a process of a test's own: configuration, queue, log and ports are in a folder that goes with it.

It listens on loopback alone and hands nothing to the network: domains that end in `.test` are delivered, bounced or
made to wait here, and what comes to `bounces@reports.test` goes through the recipe of docs/providers/smtp.md.
"""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from tests.stack import until

ROOT = Path(__file__).parent.parent.parent
SCRIPT = ROOT / "docs/providers/post_report.sh"
USER = "nobody"  # for the pipe: neither root nor Postfix' own
REPORTS = "bounces@reports.test"
DELIVERED, BOUNCED, SLOW = "delivered.test", "bounced.test", "slow.test"

_MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/mail.log
maillog_file_prefixes = {folder}
myhostname = mx.relay.test
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mydestination =
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
alias_maps =
alias_database =
local_recipient_maps =
transport_maps = texthash:{folder}/transport
default_transport = error:5.4.4 nothing leaves this machine
smtputf8_enable = {smtputf8}
recipient_delimiter = +
{virtual}
delay_warning_time = 1s
minimal_backoff_time = 2s
maximal_backoff_time = 3s
queue_run_delay = 1s
"""
# A scan of the deferred queue takes what is due within a second. With a backoff of one second that is a report whose
# delivery has just failed, and which pipe(8) may still have locked: qmgr(8) then says "skipped, still being delivered"
# and puts it into the incoming queue for PUT_ASIDE seconds. That queue is looked at when mail comes, and when qmgr is
# woken: every 300 seconds by default, and here every second.
PUT_ASIDE = 60.0

_TRANSPORT = f"""\
{DELIVERED} deliver:
{BOUNCED} refuse:
{SLOW} wait:
reports.test dcbridge:
"""

_MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 1 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
lmtp unix - - n - - lmtp
virtual unix - n n - - virtual
deliver unix - n n - - pipe
  flags=X user={user} argv=/usr/bin/wc
refuse unix - n n - - pipe
  flags= user={user} argv={folder}/refuse.sh
wait unix - n n - - pipe
  flags= user={user} argv={folder}/wait.sh
dcbridge unix - n n - 4 pipe
  -o soft_bounce=yes flags= user={user} argv={folder}/post_report.sh {folder}/report.conf {folder}/kept
"""


def why_not() -> str:
    """Why it cannot be run here; "" where it can."""
    if os.geteuid() != 0:
        return "Postfix' master has to be started as root"
    if not Path("/usr/sbin/postfix").exists() or shutil.which("curl") is None:
        return "Postfix or curl is not installed"
    try:
        pwd.getpwnam("postfix"), grp.getgrnam("postdrop"), pwd.getpwnam(USER)
    except KeyError as missing:
        return f"an account is missing: {missing}"
    return ""


class Postfix:
    """Used as a context manager: it runs inside, and nothing of it is left after."""

    def __init__(
        self,
        port: int,
        callback_url: str,
        secret: str,
        *,
        smtputf8: bool = True,
        lmtp: Mapping[str, int] | None = None,
        maildirs: Mapping[str, Path] | None = None,
    ) -> None:
        """`callback_url` is where the recipe posts reports, `secret` what it shows there. `lmtp`: domains whose mail
        goes to a port of this computer. `maildirs`: mailboxes, and where their mail is put for the account `mail`.
        """
        self._kept = tempfile.TemporaryDirectory(prefix="pfx-", ignore_cleanup_errors=True)
        self.folder = Path(self._kept.name)
        self.port = port
        self._process: subprocess.Popen[bytes] | None = None
        self._configure(callback_url, secret, smtputf8, lmtp or {}, maildirs or {})

    def _configure(
        self, callback_url: str, secret: str, smtputf8: bool, lmtp: Mapping[str, int], maildirs: Mapping[str, Path]
    ) -> None:
        folder, user = self.folder, pwd.getpwnam(USER)
        folder.chmod(0o755)
        for name in ("queue", "data", "kept"):
            (folder / name).mkdir()
        shutil.chown(folder / "data", "postfix")
        os.chown(folder / "kept", user.pw_uid, user.pw_gid)
        told = {"folder": folder, "port": self.port, "user": USER, "smtputf8": "yes" if smtputf8 else "no"}
        (folder / "main.cf").write_text(_MAIN.format(**told, virtual=self._virtual(maildirs)))
        (folder / "master.cf").write_text(_MASTER.format(**told))
        own = "".join(f"{domain} lmtp:inet:127.0.0.1:{to}\n" for domain, to in lmtp.items())
        (folder / "transport").write_text(_TRANSPORT + own)
        # EX_NOUSER, which Postfix makes 5.1.1 of, and EX_TEMPFAIL
        (folder / "refuse.sh").write_text("#!/bin/sh\ncat >/dev/null; exit 67\n")
        (folder / "wait.sh").write_text("#!/bin/sh\ncat >/dev/null; exit 75\n")
        shutil.copy(SCRIPT, folder / "post_report.sh")
        for name in ("post_report.sh", "refuse.sh", "wait.sh"):
            (folder / name).chmod(0o755)
        config = folder / "report.conf"
        config.touch(mode=0o600)
        config.write_text(f'url = "{callback_url}"\nheader = "Authorization: Bearer {secret}"\n')
        os.chown(config, user.pw_uid, user.pw_gid)

    def _virtual(self, maildirs: Mapping[str, Path]) -> str:
        """Its own delivery into Maildirs, which an IMAP server reads."""
        if not maildirs:
            return ""
        mail = pwd.getpwnam("mail")
        there = "".join(f"{mailbox} {path.relative_to('/')}/\n" for mailbox, path in maildirs.items())
        (self.folder / "mailboxes").write_text(there)
        domains = ", ".join(sorted({mailbox.rpartition("@")[2] for mailbox in maildirs}))
        return (
            f"virtual_mailbox_domains = {domains}\nvirtual_mailbox_maps = texthash:{self.folder}/mailboxes\n"
            f"virtual_mailbox_base = /\nvirtual_minimum_uid = 1\n"
            f"virtual_uid_maps = static:{mail.pw_uid}\nvirtual_gid_maps = static:{mail.pw_gid}\n"
        )

    def __enter__(self) -> Self:
        with (self.folder / "start.log").open("wb") as log:
            self._process = subprocess.Popen(
                self._command("start-fg"), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        try:
            until(self._listens, "Postfix listens", 30.0)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            subprocess.run(self._command("stop"), capture_output=True, check=False, timeout=60)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._kept.cleanup()

    def _command(self, verb: str) -> list[str]:
        return ["/usr/sbin/postfix", "-c", str(self.folder), verb]

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"Postfix ended:\n{(self.folder / 'start.log').read_text()}{self.log()}"
        with socket.socket() as connection:
            connection.settimeout(1.0)
            return connection.connect_ex(("127.0.0.1", self.port)) == 0

    def log(self) -> str:
        """Everything that it wrote to its mail log."""
        path = self.folder / "mail.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def kept(self) -> list[Path]:
        """Reports that the bridge would not take."""
        return sorted((self.folder / "kept").iterdir())
