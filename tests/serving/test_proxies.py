"""
The server behind a reverse proxy, at its root and under a path, and other pages that may ask: with the configurations
of docs/serving.md, in nginx and Caddy themselves where they are installed. DNS rebinding and others stay refused.
"""

import json
import re
import shutil
import socket
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from conftest import ROOT
from served import HI, get

import serve

NAME = "chat.example.org"
NGINX = "daemon off; pid {0}/pid; error_log stderr; events {{}} http {{ access_log off; {1} {2} }}"
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def config(kind, port, server_port):
    """The configuration in docs/serving.md, for these ports."""
    (text,) = re.findall(f"```{kind}\n(.*?)```", (ROOT / "docs/serving.md").read_text(encoding="utf-8"), re.DOTALL)
    text = text.replace("127.0.0.1:8000", f"127.0.0.1:{server_port}")
    text = text.replace("listen 80;", f"listen 127.0.0.1:{port};")
    return re.sub(rf"^{NAME} ", f"http://{NAME}:{port} ", text)


def free_port():
    with serve.opened_socket("127.0.0.1", 0) as listening:
        return listening.getsockname()[1]


@pytest.fixture(params=["nginx", "caddy"])
def proxied(request, running, tmp_path):
    """(the proxy's URL, the server) behind a proxy of that kind."""
    program = shutil.which(request.param)
    if program is None:
        pytest.skip(f"{request.param} is not here: pip install -r runs/requirements-clients.txt")
    server = running(allowed_hosts=(NAME,), trusted_proxies=("127.0.0.1",))
    port = free_port()
    text = config(request.param, port, server.url.rpartition(":")[2])
    path = tmp_path / "config"
    if request.param == "nginx":
        folders = " ".join(f"{kind}_temp_path {tmp_path}/{kind};" for kind in TEMPORARY)
        path.write_text(NGINX.format(tmp_path, folders, text), encoding="utf-8")
        command = [program, "-e", "stderr", "-p", str(tmp_path), "-c", str(path)]
    else:
        path.write_text("{\n admin off\n auto_https off\n}\n" + text, encoding="utf-8")
        command = [program, "run", "--adapter", "caddyfile", "--config", str(path)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, cwd=tmp_path)
    for _ in range(100):
        try:
            get(f"http://127.0.0.1:{port}/health", headers={"Host": NAME})
            break
        except httpx.TransportError:
            assert process.poll() is None, process.stderr.read().decode()
            time.sleep(0.1)
    yield f"http://127.0.0.1:{port}", server
    process.terminate()
    process.communicate(timeout=20)


@pytest.mark.parametrize("path", ["/", "/chat/"])
def test_the_page_and_a_chat_behind_a_proxy(proxied, path, caplog):
    """The page, its files, a stream that its own script asks for, and in the log the client's address."""
    url, _ = proxied
    headers = {"Host": NAME}
    page = get(url + path, headers=headers)
    assert page.status_code == 200 and "nanoChatGPT" in page.text
    assert get(f"{url}{path}vendor/marked.js", headers=headers).status_code == 200
    headers |= {"Origin": f"https://{NAME}", "Content-Type": "application/json"}
    body = json.dumps({"messages": HI, "max_tokens": 3, "stream": True})
    with caplog.at_level("INFO", "serving"):
        reply = httpx.post(f"{url}{path}v1/chat/completions", content=body, headers=headers)
    assert reply.status_code == 200 and reply.text.endswith("data: [DONE]\n\n")
    other = {**headers, "Origin": "https://evil.example"}
    assert httpx.post(f"{url}{path}v1/chat/completions", content=body, headers=other).status_code == 403


def test_a_path_without_its_slash_is_sent_on(proxied):
    """Else the page would have neither style nor script."""
    url, _ = proxied
    found = get(f"{url}/chat", headers={"Host": NAME})
    assert found.status_code in (301, 302) and found.headers["Location"].endswith("/chat/")


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost", 200), ("ann.localhost", 200), ("my-mac.local", 200), ("host.docker.internal", 200), (NAME, 200),
     ("127.0.0.2", 200), ("192.168.0.7", 200), ("[::1]", 200), ("pets.example.com", 200), ("LOCALHOST.", 200),
     ("evil.example", 403), ("localhost.evil.example", 403), ("local", 403), ("evil-example.com", 403),
     ("127.0.0.1.nip.io", 403), ("xlocalhost", 403), ("docker.internal", 403), ("2130706433", 403)],
)  # fmt: skip
def test_the_names_of_this_machine(shared, host, status):
    """What Docker, mDNS and a person call it, and what --allowed_hosts adds; a name of the DNS is refused."""
    server = shared(allowed_hosts=(NAME, "*.example.com"))
    port = server.url.rpartition(":")[2]
    for header in (host, f"{host}:{port}"):
        assert get(f"{server.url}/health", headers={"Host": header}).status_code == status


def test_no_host_at_all(server):
    """A load balancer's probe of /health; every browser tells a host."""
    for path, status in (("/health", b"200"), ("/v1/models", b"403")):
        with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))) as probe:
            probe.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            assert probe.recv(20).split()[1] == status


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.0.0.2"])
def test_a_loopback_address_needs_no_key(host):
    assert serve.only_this_machine(host) and not serve.only_this_machine("0.0.0.0")


@pytest.mark.browser
def test_a_page_of_an_allowed_origin_asks_as_openais_client_does(chromium, running):
    """A preflight for the dozen headers that OpenAI's npm client sends; a page that is not allowed gets nothing."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()

        def log_message(self, *_):
            pass

    pages = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=pages.serve_forever, daemon=True).start()
    origin = f"http://127.0.0.1:{pages.server_address[1]}"
    ask = """async url => {
        const names = ["os", "lang", "arch", "retry-count", "runtime", "package-version", "timeout", "runtime-version"];
        const headers = Object.fromEntries(names.map(name => [`x-stainless-${name}`, "x"]));
        headers["Content-Type"] = "application/json";
        headers.Authorization = "Bearer none";
        const body = JSON.stringify({ messages: [{ role: "user", content: "hi" }], max_tokens: 1 });
        const answer = await fetch(url + "/v1/chat/completions", { method: "POST", headers, body }).catch(String);
        return typeof answer === "string" ? answer : [answer.status, answer.headers.get("x-request-id")?.slice(0, 4)];
    }"""
    page = chromium.new_page()
    page.goto(origin)
    assert page.evaluate(ask, running(cors=(origin,)).url) == [200, "req_"]
    assert "Failed to fetch" in page.evaluate(ask, running().url)
    page.close()
    pages.shutdown()
    pages.server_close()
