"""What is told reaches real servers on this machine, once, whatever is killed or tried again."""

from __future__ import annotations

import email.message
import json
import socket
import sys
import threading
from collections.abc import Iterator
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest
from aiosmtpd.controller import Controller
from deltalake import DeltaTable, write_deltalake

from jobs.common.config import Config, Notify
from jobs.common.console import JsonReporter
from jobs.engines.local import LocalEngine
from jobs.notifying import outbox
from jobs.notifying.channels import open_channels
from jobs.notifying.message import Item, Message
from jobs.notifying.outbox import send_with_retries, tell
from tests.jobs.job import Job

ALARM = Item.of("alarm", "2024-02-14 was loaded twice: 440 of its 880 rows are copies of others", "t", "copies")
INCIDENT = Item.of("incident", "price x100 for shop = 'rome', 100 % of rows, since 2024-02-14", "t", "17")


class Receiver:
    """An HTTP server that keeps what it gets; the next `refuse` requests are answered with 503."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], Any]] = []
        self.refuse = 0
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                refused, receiver.refuse = receiver.refuse > 0, max(receiver.refuse - 1, 0)
                if not refused:
                    receiver.got.append((dict(self.headers), body))
                self.send_response(503 if refused else 204)
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/hook"

    def sentences(self) -> list[str]:
        return [item["sentence"] for _, body in self.got for item in body["items"]]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "PAUSES_S", (0.0, 0.0))


def make_config(folder: Path, **notify: Any) -> Config:
    return Config.model_validate(
        {
            "source": {"table": "sales"},
            "extract": {"path": str(folder / "extract")},
            "bundle": {"path": str(folder / "bundle")},
            "score": {"table": str(folder / "scored")},
            "notify": notify,
        }
    )


def tell_all(config: Config, *items: Item) -> None:
    tell(config, LocalEngine(), JsonReporter(), items)


def test_a_webhook_gets_each_item_once(tmp_path, receiver):
    config = make_config(tmp_path, webhook=receiver.url)
    for items in ((ALARM,), (ALARM,), (ALARM, INCIDENT), (INCIDENT,)):
        tell_all(config, *items)
    assert receiver.sentences() == [ALARM.sentence, INCIDENT.sentence]
    headers, body = receiver.got[0]
    assert headers["Idempotency-Key"] == body["id"] == Message("sales", (ALARM,)).id
    assert body["table"] == "sales" and body["items"][0]["kind"] == "alarm"


def test_a_server_that_is_busy_is_asked_again_and_one_that_is_down_next_time(tmp_path, receiver, capsys):
    config = make_config(tmp_path, webhook=receiver.url)
    receiver.refuse = 2
    tell_all(config, ALARM)
    assert receiver.sentences() == [ALARM.sentence]
    receiver.refuse = 3
    tell_all(config, ALARM, INCIDENT)
    assert receiver.sentences() == [ALARM.sentence]
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert said[-1]["event"] == "not sent" and "503" in said[-1]["message"]
    tell_all(config)
    assert receiver.sentences() == [ALARM.sentence, INCIDENT.sentence]


def test_what_was_written_down_before_a_kill_is_told_afterwards(tmp_path, receiver, monkeypatch):
    config = make_config(tmp_path, webhook=receiver.url)

    def die(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(outbox, "_deliver", die)
        with pytest.raises(KeyboardInterrupt):
            tell_all(config, ALARM)
    assert receiver.got == []
    tell_all(config)
    tell_all(config, ALARM)
    assert receiver.sentences() == [ALARM.sentence]


def test_only_what_is_asked_for_is_told(tmp_path, receiver):
    tell_all(make_config(tmp_path, webhook=receiver.url, events=["incident"]), ALARM, INCIDENT)
    assert receiver.sentences() == [INCIDENT.sentence]


@pytest.mark.parametrize(
    ("shape", "read"),
    [
        ("slack", lambda body: body["text"]),
        ("teams", lambda body: " ".join(block["text"] for block in body["attachments"][0]["content"]["body"])),
    ],
)
def test_shapes_of_others(tmp_path, receiver, shape, read):
    tell_all(make_config(tmp_path, webhook=receiver.url, shape=shape), ALARM, INCIDENT)
    text = read(receiver.got[0][1])
    assert "sales: 2 things to look at" in text and ALARM.sentence in text and INCIDENT.sentence in text


class Mailbox:
    def __init__(self) -> None:
        self.mails: list[email.message.Message] = []

    async def handle_DATA(self, server: object, session: object, envelope: Any) -> str:  # noqa: N802  aiosmtpd's name
        self.mails.append(message_from_bytes(envelope.content))
        return "250 OK"


def test_a_mail_says_it_in_its_subject_and_text(tmp_path):
    mailbox = Mailbox()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    controller = Controller(mailbox, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        config = make_config(
            tmp_path, mail_to=["a@example.com", "b@example.com"], smtp_host="127.0.0.1", smtp_port=port
        )
        tell_all(config, ALARM)
        tell_all(config, ALARM)
    finally:
        controller.stop()
    (mail,) = mailbox.mails
    assert mail["To"] == "a@example.com, b@example.com"
    assert str(mail["Subject"]).replace("\n", "").startswith("[Sandtimer] sales: 2024-02-14 was loaded twice")
    assert f"Alarms:\n- {ALARM.sentence}" in str(mail.get_payload()).replace("\r\n", "\n")


def test_a_command_gets_the_json(tmp_path):
    keep = f"import sys; open({str(tmp_path / 'told')!r}, 'a').write(sys.stdin.read() + '\\n')"
    config = make_config(tmp_path, command=[sys.executable, "-c", keep])
    tell_all(config, ALARM)
    tell_all(config, ALARM)
    (line,) = (tmp_path / "told").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["items"][0]["sentence"] == ALARM.sentence


@pytest.mark.parametrize(
    ("notify", "words"),
    [
        ({"command": [sys.executable, "-c", "import sys; sys.exit('no pager')"]}, "no pager"),
        ({"command": ["/nowhere/at/all"]}, "No such file"),
        ({"webhook": "http://127.0.0.1:9/"}, "refused"),
        ({"mail_to": ["a@example.com"], "smtp_host": "127.0.0.1", "smtp_port": 9}, "refused"),
    ],
)
def test_what_cannot_be_sent_says_why(notify, words):
    (send,) = open_channels(Notify(**notify)).values()
    reason = send_with_retries(send, Message("sales", (ALARM,)), ())
    assert reason is not None and words in reason


def test_a_failed_run_is_told_once_a_day(job: Job, receiver):
    job.settings["notify"] = {"webhook": receiver.url}
    job.settings["source"]["table"] = str(job.folder / "nowhere")
    assert [job.run("score").code for _ in range(2)] == [3, 3]
    (sentence,) = receiver.sentences()
    assert sentence.startswith("score failed: expected")


def test_the_monitor_tells_its_alarms_and_a_rerun_tells_nothing(job: Job, receiver):
    job.settings["notify"] = {"webhook": receiver.url}
    assert job.run("monitor").code == 0 and receiver.sentences() == []
    source = DeltaTable(str(job.source)).to_pyarrow_table()
    last = pc.max(source["day"])
    write_deltalake(str(job.source), source.filter(pc.equal(source["day"], last)), mode="append")
    assert job.run("score").code == 0
    assert job.run("monitor").code == 5
    told = receiver.sentences()
    assert any("was loaded twice" in sentence for sentence in told)
    assert job.run("monitor").code == 5
    assert receiver.sentences() == told
    rows = DeltaTable(str(job.folder / "scored_messages")).to_pyarrow_table().to_pylist()
    assert {row["sentence"] for row in rows} == {*told} and all(row["sent_at"] for row in rows)


def test_a_monitor_that_is_killed_before_it_tells_tells_it_the_next_time(job: Job, receiver, monkeypatch):
    from jobs.monitoring import monitor

    job.settings["notify"] = {"webhook": receiver.url}
    assert job.run("monitor").code == 0
    source = DeltaTable(str(job.source)).to_pyarrow_table()
    last = pc.max(source["day"])
    write_deltalake(str(job.source), source.filter(pc.equal(source["day"], last)), mode="append")
    assert job.run("score").code == 0

    def die(*arguments: object) -> None:
        raise KeyboardInterrupt

    for name in ("tell", "remember"):
        with monkeypatch.context() as patched:
            patched.setattr(monitor, name, die)
            assert job.run("monitor").code == 130
    told = receiver.sentences()
    assert sum("was loaded twice" in sentence for sentence in told) == 1
    assert job.run("monitor").code == 5
    assert receiver.sentences() == told
