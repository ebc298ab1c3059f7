"""
A server of a tiny model in a thread of the tests' process, and what it should say.
"""

import json
import ssl
import threading
import time

import httpx
import openai

import serve
from inference.engine import Engine
from serve import ServeConfig
from serving.scheduler import Scheduler

# httpx reads the certificates of all authorities anew for each client, which takes longer than most requests here
CERTIFICATES = ssl.create_default_context()
HI = [{"role": "user", "content": "hi, how are you?"}]


def get(url, **how):
    """httpx.get with the certificates that are read already."""
    return httpx.get(url, verify=CERTIFICATES, **how)


class Running:
    """A server in a thread of this process, on a free port. settings: of ServeConfig."""

    def __init__(self, model, tokens, folder, slots=4, queue=64, **settings):
        self.engine = Engine(model, tokens, slots=slots)
        self.scheduler = Scheduler(lambda: self.engine, queue)
        self.config = ServeConfig(feedback=str(folder / "feedback.jsonl"), max_new_tokens=20, grace=1, **settings)
        app = serve.app_for(self.config, self.scheduler, "tiny")
        listening = serve.opened_socket("127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        self.server = serve.http_server(self.config, app)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [listening]})
        self.thread.start()
        self.key = self.config.api_key or "none"
        self.clients = []
        while not self.server.started:
            time.sleep(0.01)

    def client(self, **how):
        self.clients.append(openai.DefaultHttpxClient(verify=CERTIFICATES))
        how = {"max_retries": 0, "http_client": self.clients[-1], **how}
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=self.key, **how)

    def chat(self, messages=HI, **asked):
        return self.client().chat.completions.create(model="tiny", messages=messages, **asked)

    def post(self, body, path="/v1/chat/completions", **how):
        content = body if isinstance(body, bytes | str) else json.dumps(body)
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.key}", **how.pop("headers", {})}
        return httpx.post(self.url + path, content=content, headers=headers, timeout=120, verify=CERTIFICATES, **how)

    def metric(self, name):
        text = get(f"{self.url}/metrics", headers={"Authorization": f"Bearer {self.key}"}).text
        return next(float(line.split()[-1]) for line in text.splitlines() if line.startswith(f"nanochatgpt_{name}"))

    def stop(self):
        for client in self.clients:
            client.close()
        self.server.should_exit = True
        self.thread.join()
        self.scheduler.stop()
        self.scheduler.thread.join()


def error_of(response, status):
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"} and error["message"]
    return error


def expected(server, messages, sampling):
    """What an engine of its own says."""
    engine = Engine(server.engine.model, server.engine.tokenizer)
    *pieces, last = engine.reply(messages, sampling)
    return "".join(piece.text for piece in [*pieces, last]), last
