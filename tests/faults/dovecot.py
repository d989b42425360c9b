"""Debian's Dovecot as a process of a test's own: configuration, mailboxes, certificate and port are in a folder of its
own, which goes with it. It listens on loopback alone.

    apt-get install dovecot-imapd
"""

from __future__ import annotations

import imaplib
import os
import pwd
import shutil
import signal
import ssl
import subprocess
import tempfile
from pathlib import Path
from typing import Self

from tests.certificates import self_signed
from tests.stack import quiet_port, until

DOVECOT = "/usr/sbin/dovecot"
PASSWORD = "eine-lange-Losung"

_CONFIGURATION = """\
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/log
instance_name = {folder.name}
protocols = imap
listen = 127.0.0.1
ssl = required
ssl_cert = <{folder}/cert.pem
ssl_key = <{folder}/key.pem
default_login_user = dovenull
default_internal_user = dovecot
default_internal_group = dovecot
first_valid_uid = 1
mail_location = maildir:{folder}/mail/%u
mail_plugins =
imap_idle_notify_interval = 1 mins
mailbox_idle_check_interval = 1s
maildir_very_dirty_syncs = no
auth_mechanisms = plain login {mechanisms}
disable_plaintext_auth = yes
mail_max_userip_connections = 50
auth_failure_delay = 0
passdb {{
  driver = passwd-file
  args = scheme=PLAIN {folder}/users
}}
{token_passdb}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={folder}/mail/%u
}}
namespace inbox {{
  inbox = yes
  separator = /
}}
service imap-login {{
  inet_listener imap {{
    port = {plain_port}
  }}
  inet_listener imaps {{
    port = {port}
    ssl = yes
  }}
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
"""

_TOKEN_PASSDB = """\
passdb {{
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = {folder}/oauth2.conf
}}
"""


def why_not() -> str:
    """Why it cannot be run here; "" where it can."""
    if os.geteuid() != 0:
        return "Dovecot's master has to be started as root"
    if not Path(DOVECOT).exists():
        return "Dovecot is not installed"
    try:
        pwd.getpwnam("dovecot"), pwd.getpwnam("dovenull"), pwd.getpwnam("mail")
    except KeyError as missing:
        return f"an account is missing: {missing}"
    return ""


class Dovecot:
    """Used as a context manager: it runs inside, and nothing of it is left after."""

    def __init__(self, *users: str, introspect: str = "") -> None:
        """`introspect`: URL that says whose an OAuth2 token is; the token is appended to it."""
        self._kept = tempfile.TemporaryDirectory(prefix="dov-", ignore_cleanup_errors=True)
        self.folder = Path(self._kept.name)
        self.port, self.plain_port = quiet_port(), quiet_port()
        self.users = users
        self._process: subprocess.Popen[bytes] | None = None
        self._configure(introspect)

    def _configure(self, introspect: str) -> None:
        folder, mail = self.folder, pwd.getpwnam("mail")
        folder.chmod(0o755)
        for name in ("run", "state", "mail"):
            (folder / name).mkdir()
        os.chown(folder / "mail", mail.pw_uid, mail.pw_gid)
        certificate, key = self_signed(folder)
        shutil.copy(certificate, folder / "cert.pem")
        shutil.copy(key, folder / "key.pem")
        (folder / "users").write_text("".join(f"{user}:{{PLAIN}}{PASSWORD}\n" for user in self.users))
        (folder / "oauth2.conf").write_text(
            f"introspection_mode = get\nintrospection_url = {introspect}\nusername_attribute = email\n"
            "tokeninfo_url =\nactive_attribute = active\nactive_value = true\nforce_introspection = yes\n"
        )
        told = {
            "folder": folder, "port": self.port, "plain_port": self.plain_port, "uid": mail.pw_uid, "gid": mail.pw_gid,
            "mechanisms": "xoauth2" if introspect else "",
            "token_passdb": _TOKEN_PASSDB.format(folder=folder) if introspect else "",
        }  # fmt: skip
        (folder / "dovecot.conf").write_text(_CONFIGURATION.format(**told))

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._kept.cleanup()

    def start(self) -> None:
        with (self.folder / "start.log").open("ab") as log:
            self._process = subprocess.Popen(
                [DOVECOT, "-F", "-c", str(self.folder / "dovecot.conf")],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        until(self._answers, "Dovecot answers", 30.0)

    def stop(self) -> None:
        """As a restart of the server does: connections are closed."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(20)
            until(lambda: not _is_there(process.pid), "its processes have ended", 5.0)  # which still write indexes
        except (subprocess.TimeoutExpired, AssertionError):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"Dovecot ended:\n{(self.folder / 'start.log').read_text()}{self.log()}"
        try:
            with self.client(self.users[0]):
                return True
        except (OSError, imaplib.IMAP4.error):
            return False

    def log(self) -> str:
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def client(self, user: str) -> imaplib.IMAP4_SSL:
        """Python's own, logged in."""
        context = ssl.create_default_context(cafile=str(self.folder / "cert.pem"))
        context.check_hostname = False
        client = imaplib.IMAP4_SSL("127.0.0.1", self.port, ssl_context=context, timeout=20)
        client.login(user, PASSWORD)
        return client

    def put(self, user: str, *mails: bytes, folder: str = "INBOX") -> None:
        """Mails as a mail system delivers them."""
        with self.client(user) as client:
            for raw in mails:
                said, why = client.append(folder, "", "", raw)
                assert said == "OK", why

    def count(self, user: str, what: str = "ALL", folder: str = "INBOX") -> int:
        """Mails of a folder to which it applies."""
        with self.client(user) as client:
            client.select(folder, readonly=True)
            _, found = client.search(None, what)
            return len(found[0].split())

    def renumber(self, user: str) -> None:
        """Another UIDVALIDITY, and other UIDs for the mails that are there: as after a restore. While it is down."""
        for path in (self.folder / "mail" / user).glob("dovecot*"):
            if path.name != "dovecot-keywords":  # flags and keywords stand in the names of the mails
                path.unlink()


def _is_there(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
