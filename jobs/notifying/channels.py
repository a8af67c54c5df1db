"""Ways to tell somebody. Each takes a message whole, or raises OSError with the reason; a receiver can tell a message
that comes twice by its id (the header Idempotency-Key, the Message-ID of a mail, `id` in the JSON)."""

from __future__ import annotations

import json
import smtplib
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from email.message import EmailMessage
from typing import Any, Final

from jobs.common.config import Notify
from jobs.notifying.message import Message

TIMEOUT_S: Final = 15.0
Send = Callable[[Message], None]


def is_told(config: Notify) -> bool:
    """Whether there is anybody to tell."""
    return bool(config.webhook or config.mail_to or config.command)


def open_channels(config: Notify) -> dict[str, Send]:
    """The configured ways, by name."""
    channels: dict[str, Send] = {}
    if config.webhook:
        url, shape = config.webhook, SHAPES[config.shape]
        channels["webhook"] = lambda message: post(url, shape(message), message.id)
    if config.mail_to:
        channels["mail"] = lambda message: send_mail(config, message)
    if config.command:
        command = config.command
        channels["command"] = lambda message: run_command(command, message)
    return channels


def post(url: str, body: Mapping[str, Any], identity: str) -> None:
    """POST a JSON body.

    Raises:
        OSError: no answer, or one that is no success.
    """
    headers = {"Content-Type": "application/json", "Idempotency-Key": identity, "User-Agent": "sandtimer"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers, method="POST")  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
            answer.read()
    except urllib.error.HTTPError as error:
        raise OSError(f"the webhook answered {error.code} {error.reason}") from error


def shape_json(message: Message) -> dict[str, Any]:
    """All fields, for one's own receiver."""
    return message.to_json()


def shape_slack(message: Message) -> dict[str, Any]:
    """What Slack's incoming webhooks take, and Mattermost's and Rocket.Chat's."""
    return {"text": f"*{message.subject}*\n{message.text}"}


def shape_teams(message: Message) -> dict[str, Any]:
    """What workflows of Microsoft Teams take: an adaptive card."""
    blocks = [{"type": "TextBlock", "text": message.subject, "weight": "Bolder", "wrap": True}]
    blocks += [{"type": "TextBlock", "text": line, "wrap": True} for line in message.text.splitlines()]
    card = {"$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "type": "AdaptiveCard", "version": "1.4"}
    content = {**card, "body": blocks}
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "content": content}
    return {"type": "message", "attachments": [attachment]}


SHAPES: Final[Mapping[str, Callable[[Message], dict[str, Any]]]] = {
    "json": shape_json,
    "slack": shape_slack,
    "teams": shape_teams,
}


def send_mail(config: Notify, message: Message) -> None:
    """One mail to all.

    Raises:
        OSError: the server does not answer, or refuses it.
    """
    mail = EmailMessage()
    mail["Subject"], mail["From"], mail["To"] = message.subject, config.mail_from, ", ".join(config.mail_to)
    mail["Message-ID"] = f"<{message.id}@sandtimer>"
    mail.set_content(message.text)
    try:
        with smtplib.SMTP(config.smtp_host, config.smtp_port, timeout=TIMEOUT_S) as server:
            if config.smtp_starttls:
                server.starttls(context=ssl.create_default_context())
            if config.smtp_user:
                server.login(config.smtp_user, config.smtp_password or "")
            server.send_message(mail)
    except smtplib.SMTPException as error:
        raise OSError(f"the mail server refused it: {error}") from error


def run_command(command: tuple[str, ...], message: Message) -> None:
    """Run a command with the message as JSON on its standard input.

    Raises:
        OSError: it does not start, takes too long, or ends with another code than 0.
    """
    try:
        done = subprocess.run(
            command, input=json.dumps(message.to_json()), text=True, capture_output=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise OSError(f"{command[0]} took longer than {TIMEOUT_S:g} s") from error
    if done.returncode:
        raise OSError(f"{command[0]} ended with code {done.returncode}: {done.stderr.strip()[-300:]}")
