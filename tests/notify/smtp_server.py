"""A real SMTP server for tests, on aiosmtpd.

Prints its port, keeps what it took as JSON lines in FOLDER/mails, what
parties said when logging in in FOLDER/logins, and reads from FOLDER/mode how
to misbehave: ok, 421, 451 NAME (only that recipient), 550 NAME, hang, drop.
Mails are taken apart with Python's own parser, so that the sender's library
does not judge itself.
"""

import asyncio
import base64
import email
import email.policy
import json
import logging
import os
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

folder, security, user, password = sys.argv[1:5]
certificate, key = os.path.join(folder, "server.pem"), os.path.join(folder, "server.key")


class Brief(logging.Filter):
    """What tests bring about on purpose takes one line, all else is told whole."""

    def filter(self, record):
        error = record.exc_info[1] if record.exc_info else None
        while error and not isinstance(error, ssl.SSLError):
            error = error.__cause__
        if error and "ALERT" in str(error.reason):
            record.msg, record.args = f"the client ended the handshake: {error.reason}", ()
            record.exc_info = record.exc_text = None
        return "login_data is deprecated" not in record.getMessage()


def mode():
    try:
        with open(os.path.join(folder, "mode")) as file:
            return file.read().split()
    except FileNotFoundError:
        return ["ok"]


def note(name, entry):
    with open(os.path.join(folder, name), "a") as file:
        file.write(json.dumps(entry) + "\n")


def parts_of(message):
    for part in message.walk():
        kind = part.get_content_type()
        if part.is_multipart():
            yield {"type": kind}
            continue
        content = part.get_payload(decode=True)
        yield {
            "type": kind,
            "cid": part.get("Content-ID"),
            "disposition": part.get_content_disposition(),
            "text": content.decode(part.get_content_charset() or "utf-8") if kind.startswith("text/") else None,
            "base64": base64.b64encode(content).decode(),
        }


class Handler:
    async def handle_MAIL(self, server, session, envelope, address, options):
        if mode()[0] == "421":
            return "421 4.3.2 shutting down"
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(self, server, session, envelope, address, options):
        how = mode()
        if how[0] in ("451", "550") and address == how[1]:
            return f"{how[0]} not now, not here"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        how = mode()[0]
        if how == "hang":
            await asyncio.sleep(3600)
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        note("mails", {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "tls": session.ssl is not None or security == "tls",
            "user": session.auth_data.login.decode() if session.authenticated else None,
            "headers": {name: str(value) for name, value in message.items()},
            "parts": list(parts_of(message)),
            "defects": [str(defect) for defect in message.defects],
        })
        if how == "drop":
            server.transport.abort()
        return "250 2.0.0 queued"


def authenticate(server, session, envelope, mechanism, data):
    right = isinstance(data, LoginPassword) and (data.login, data.password) == (user.encode(), password.encode())
    note("logins", {"right": right})
    # With handled=True, the default, a refused client would get no answer.
    return AuthResult(success=right, handled=False, auth_data=data)


async def main():
    said = logging.StreamHandler()
    said.addFilter(Brief())
    logging.basicConfig(level=logging.WARNING, format="SMTP server of the test: %(message)s", handlers=[said])
    context = None
    if security != "none":
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)
    starttls = security == "starttls"

    def connection():
        return SMTP(
            Handler(),
            hostname="localhost",
            enable_SMTPUTF8=True,
            tls_context=context if starttls else None,
            require_starttls=starttls,
            authenticator=authenticate if user else None,
            auth_required=bool(user),
            auth_require_tls=starttls,
        )

    server = await asyncio.get_running_loop().create_server(
        connection, "127.0.0.1", 0, ssl=context if security == "tls" else None
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    # The end of the test closes standard input.
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    os._exit(0)


asyncio.run(main())
