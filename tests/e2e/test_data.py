"""End-to-end tests of `desbench data` against a server on 127.0.0.1. Prints TAP.

Usage: test_data.py PROGRAM

What is refused is tested with made-up content. Where the public data sets are there ($DESBENCH_DATA,
else ../shared/data beside the source tree) they are also served and fetched; upstream's
configuration files are then rendered from fewshot.json in the syntaxes that upstream uses.
"""
import hashlib
import http.server
import json
import os
import re
import resource
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import traceback
from urllib.parse import urlsplit

PROGRAM = os.path.abspath(sys.argv[1])
SOURCE = os.environ["DESBENCH_SOURCE"]
DATA = os.environ.get("DESBENCH_DATA") or os.path.join(SOURCE, "..", "shared", "data")
HAS_DATA = os.path.isfile(os.path.join(DATA, "fewshot.json"))


class Skip(Exception):
    pass


def environment(extra=None):
    env = {k: v for k, v in os.environ.items() if not k.startswith("DESBENCH_") and "proxy" not in k.lower()}
    env["XDG_DATA_HOME"] = "/nonexistent"
    env.update(extra or {})
    return env


def call(*args, env=None, before=None):
    """(exit code, stdout, stderr) of desbench data ARGS."""
    p = subprocess.run([PROGRAM, "data", *map(str, args)], capture_output=True, env=environment(env), timeout=120,
                       preexec_fn=before)
    err = p.stderr.decode()
    assert "Sanitizer" not in err, err
    return p.returncode, p.stdout.decode(), err


def fetch(site, folder, *names, retries=0, timeout=3, more=(), **kw):
    return call("fetch", *names, "--data-dir", folder, "--mirror", site.url, "--retries", retries, "--net-timeout",
                timeout, *more, **kw)


def fetched(*args, **kw):
    code, out, err = fetch(*args, **kw)
    assert code == 0, f"exit {code}: {err}"
    return err


def fails(code, words, *args, **kw):
    got, out, err = fetch(*args, **kw)
    assert got == code, f"exit {got}, wanted {code}: {err}"
    assert out == "", out
    for w in words:
        assert w in err, f"{w!r} not in: {err}"
    return err


def files():
    """What the program says of its files, by name."""
    code, out, err = call("--json", "--data-dir", "/nonexistent")
    assert code == 0, err
    return {f["name"]: f for f in json.loads(out)["files"]}


def path_of(name, address=0):
    return urlsplit(FILES[name]["addresses"][address]).path


def read(*path):
    with open(os.path.join(*path), "rb") as f:
        return f.read()


def write(content, *path):
    with open(os.path.join(*path), "wb") as f:
        f.write(content)


def need_data():
    if not HAS_DATA:
        raise Skip(f"no data sets in {DATA}")


# ---- the server ------------------------------------------------------------------------------


class Site:
    """Serves `pages` (path: bytes, with ETag and ranges); `scripts` (path: list of functions of the handler) come
    first, one a request. `asked` has (path, headers) of each request."""

    def __init__(self):
        site = self
        self.pages, self.scripts, self.asked = {}, {}, []
        self.release = threading.Event()

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                site.asked.append((self.path, dict(self.headers)))
                if site.scripts.get(self.path):
                    site.scripts[self.path].pop(0)(self)
                else:
                    page(self)

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.site = self
        self.server.handle_error = lambda request, address: None
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.release.set()
        self.server.shutdown()
        self.server.server_close()

    def ranges(self, path):
        return [h.get("Range") for p, h in self.asked if p == path]


def send(h, code, headers, body=b""):
    h.send_response(code)
    for k, v in headers.items():
        h.send_header(k, v)
    h.end_headers()
    h.wfile.write(body)


def page(h):
    """The page as a good server has it."""
    body = h.server.site.pages.get(h.path)
    if body is None:
        return send(h, 404, {"Content-Length": "3"}, b"no\n")
    etag = '"' + hashlib.md5(body).hexdigest() + '"'
    m = re.fullmatch(r"bytes=(\d+)-", h.headers.get("Range", ""))
    if m and h.headers.get("If-Range", etag) == etag and int(m[1]) < len(body):
        start = int(m[1])
        return send(h, 206, {"ETag": etag, "Content-Length": str(len(body) - start),
                             "Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"}, body[start:])
    send(h, 200, {"ETag": etag, "Content-Length": str(len(body))}, body)


def status(code, **headers):
    return lambda h: send(h, code, {"Content-Length": "0", **{k.replace("_", "-"): v for k, v in headers.items()}})


def whole(body, etag=None):
    """Everything, whatever range was asked for."""
    return lambda h: send(h, 200, {"Content-Length": str(len(body)), **({"ETag": etag} if etag else {})}, body)


def torn(body, n, etag=None):
    """The first n bytes of what was announced."""
    def answer(h):
        send(h, 200, {"Content-Length": str(len(body)), **({"ETag": etag} if etag else {})}, body[:n])
        h.close_connection = True
    return answer


def silent(h):
    h.server.site.release.wait(60)
    h.close_connection = True


def endless(h):
    h.send_response(200)
    h.end_headers()
    h.close_connection = True
    try:
        while not h.server.site.release.is_set():
            h.wfile.write(b"x" * 65536)
    except OSError:
        pass


# ---- upstream's files, rendered --------------------------------------------------------------


def python_string(s, style):
    """s as Python source in one of several spellings."""
    if style == 0:
        return "'" + escaped(s, "'") + "'"
    if style == 1:
        return '"' + escaped(s, '"') + '"'
    if style == 2:  # adjacent literals over lines
        at = [0, len(s) // 3, len(s) // 2, len(s)]
        return "(" + "\n    ".join(python_string(s[a:b], i % 2) for i, (a, b) in enumerate(zip(at, at[1:]))) + ")"
    if style == 3:  # triple quotes, newlines as they are
        return '"""' + escaped(s, '"', keep="\n") + '"""'
    assert '"' not in s[-1:]
    return 'r"""' + s + '"""'


def escaped(s, quote, keep=""):
    """Only what must be escaped is: a backslash before what names no escape stays single, as upstream has it."""
    out = []
    for i, c in enumerate(s):
        if c == "\\":
            after = s[i + 1:i + 2]
            out.append("\\" if after and after not in "\n\\'\"abfnrtvxuUN01234567" and after.isprintable() else "\\\\")
        elif c in keep:
            out.append(c)
        elif c == quote:
            out.append("\\" + c)
        else:
            out.append({"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(c, c))
    return "".join(out)


def opencompass(variable, turns, first_style):
    rows = []
    for i, t in enumerate(turns):
        style = (first_style + i) % 4
        if style == 3 and "\r" in t["text"]:
            style = 0
        rows.append(f"                dict(role={t['role']!r}, prompt={python_string(t['text'], style)},),  # {i}\n")
    return (f"from somewhere import Template, Zero, get_path\n\nreader_cfg = dict(input_columns=['a'], output='b')\n\n"
            f"{variable} = dict(\n    prompt_template=dict(\n        type=Template,\n        template=dict(\n"
            f"            round=[\n\n{''.join(rows)}            ],\n        ),\n    ),\n    retriever=dict(type=Zero),\n"
            f"    inferencer=dict(type=Zero, max_out_len=512, top_p=0.95, flag=not_this))\n\n"
            f"datasets = [dict(path=get_path('x', './y'), cfg={variable}[0:1]) for _ in range(1)]\n").encode()


def lm_eval_function(shots):
    rows = []
    for i, s in enumerate(shots):
        pairs = "".join(f"            {k!r}: {python_string(v, (i + j) % 4)},\n" for j, (k, v) in enumerate(s.items()))
        rows.append("        {\n" + pairs + "            \"few_shot\": \"1\",\n        },\n")
    return ('import re\n\n\nTABLE = [(r"\\ ", ""), ("\\\\text{a}", f"{re}")]\n\n\ndef other(doc: dict) -> str:\n'
            '    """Return what: return [1]"""\n    return "Problem:" + "\\n" + doc["problem"] % 2\n\n\n'
            'def list_fewshot_samples() -> list[dict]:\n    # our own\n    return [\n' + "".join(rows) + "    ]\n\n\n"
            "def last(x):\n    if x:\n        return x[-1]\n").encode()


def yaml_string(s, indent, style):
    plain = re.match(r"[A-Za-z]", s) and ": " not in s and " #" not in s and "\n" not in s and "  " not in s
    if style == 0 and plain:  # folded over lines, as a YAML writer does it
        return ("\n" + " " * indent).join(textwrap.wrap(s, 70, break_on_hyphens=False, break_long_words=False))
    if style == 1 and "\n" not in s and "  " not in s:
        return "'" + s.replace("'", "''") + "'"
    if style == 2 and "  " not in s and "\n\n" not in s:
        return "|" + ("" if s.endswith("\n") else "-") + "\n" + textwrap.indent(s.rstrip("\n"), " " * indent)
    return json.dumps(s)


def lm_eval_yaml(shots, first_style):
    rows = []
    for i, s in enumerate(shots):
        for j, (k, v) in enumerate(s.items()):
            rows.append(f"  {'- ' if j == 0 else '  '}{k}: {yaml_string(v, 6, (first_style + i + j) % 4)}\n")
    return ("tag:\n- math\ntask: t\ndoc_to_text: 'Q: {{question}}\n\n  A:'\nfewshot_config:\n  sampler: first_n\n"
            f"  samples:\n{''.join(rows)}metric_list:\n- metric: exact_match\n  flag: true\nn: 8\n"
            "f: !function utils.f\n").encode()


def upstream_fewshot():
    """Path: bytes, of every configuration file, and of the copies of some."""
    fewshot = json.loads(read(DATA, "fewshot.json"))
    variables = {"gsm8k_opencompass_4shot": "gsm8k_infer_cfg", "math_opencompass_4shot": "math_infer_cfg",
                 "mbpp_opencompass_3shot": "mbpp_infer_cfg", "mbpp_opencompass_mdblock_3shot": "sanitized_mbpp_infer_cfg"}
    pages = {}
    for i, part in enumerate(FILES["fewshot.json"]["parts"]):
        content = fewshot[part["key"]]
        for address in part["addresses"]:
            if part["key"] in variables:
                body = opencompass(variables[part["key"]], content["turns"], i)
            elif address.endswith(".py"):
                body = lm_eval_function(content["shots"])
            else:
                body = lm_eval_yaml(content["shots"], i)
            pages[urlsplit(address).path] = body
    assert len(pages) >= 7
    return pages


def upstream():
    need_data()
    pages = {path_of(n): read(DATA, n) for n in FILES if FILES[n]["addresses"]}
    pages.update(upstream_fewshot())
    return pages


# ---- cases: each a function whose name is a sentence -----------------------------------------


def a_missing_folder_lists_every_file_as_missing(tmp, site):
    code, out, err = call("--data-dir", tmp + "/none")
    assert code == 0 and not os.path.exists(tmp + "/none"), err
    rows = [line for line in out.splitlines() if " missing " in line]
    assert len(rows) == len(FILES) == 8, out
    assert out.startswith(f"folder {tmp}/none\n"), out
    for f in FILES.values():
        assert f["state"] == "missing" and re.fullmatch("[0-9a-f]{64}", f["pinned_sha256"])
        for a in f["addresses"] + [a for p in f.get("parts", []) for a in p["addresses"]]:
            assert a.startswith("https://"), a
    code, out, err = call("status", "mbpp", "--json", "--data-dir", tmp)
    assert [f["name"] for f in json.loads(out)["files"]] == ["mbpp.jsonl", "fewshot.json"], out


def wrong_names_and_mirrors_are_usage_errors(tmp, site):
    for word, args in [("'nothing'", ["fetch", "nothing"]), ("'sample_mbpp'", ["fetch", "sample_mbpp"]),
                       ("'ftp://x'", ["fetch", "--mirror", "ftp://x"]), ("--net-timeout", ["--net-timeout", "0"])]:
        code, out, err = call(*args, "--data-dir", tmp)
        assert code == 2 and word in err, err
    assert os.listdir(tmp) == []


def a_wrong_file_is_told_by_status(tmp, site):
    write(b"[]", tmp, "mbpp.jsonl")
    code, out, err = call("--data-dir", tmp)
    assert code == 1 and re.search(r"^mbpp.jsonl +wrong +2 ", out, re.M), out
    code, out, err = call("gsm8k_test.jsonl", "--data-dir", tmp)
    assert code == 0, out
    os.truncate(os.path.join(tmp, "mbpp.jsonl"), 65 << 20)  # more than is ever read
    code, out, err = call("--data-dir", tmp)
    assert code == 1 and re.search(rf"^mbpp.jsonl +wrong +{65 << 20} ", out, re.M), (out, err)


def other_content_is_not_put_in_place(tmp, site):
    site.pages[path_of("mbpp.jsonl")] = b"something else"
    own = hashlib.sha256(b"something else").hexdigest()
    fails(4, [own, FILES["mbpp.jsonl"]["pinned_sha256"], "14 bytes", f"{tmp}/mbpp.jsonl"], site, tmp, "mbpp.jsonl")
    assert os.listdir(tmp) == []
    write(b"mine", tmp, "mbpp.jsonl")
    fails(4, [own], site, tmp, "mbpp.jsonl")
    assert os.listdir(tmp) == ["mbpp.jsonl"] and read(tmp, "mbpp.jsonl") == b"mine"


def statuses_are_told_for_each_address(tmp, site):
    site.scripts[path_of("math500.jsonl")] = [status(404)]
    site.scripts[path_of("math500.jsonl", 1)] = [status(403)]
    err = fails(3, ["HTTP 404 (not found)", "HTTP 403 (forbidden)", "1 of 1"], site, tmp, "math500.jsonl", retries=2)
    assert len(site.asked) == 2, err
    assert path_of("math500.jsonl") in err and path_of("math500.jsonl", 1) in err
    fails(3, ["2 of 2 files could not be got: 'HumanEval.jsonl.gz', 'mbpp.jsonl'"], site, tmp, "mbpp.jsonl", "humaneval")


def a_server_s_fault_is_tried_again_as_often_as_said(tmp, site):
    site.scripts[path_of("mbpp.jsonl")] = [status(500), status(503)]
    fails(3, ["HTTP 503 (server error)", "HTTP 500 (server error); trying again"], site, tmp, "mbpp.jsonl", retries=1)
    assert len(site.asked) == 2


def offline_tells_what_to_put_where(tmp, site):
    err = fails(3, ["--offline"], site, tmp + "/new", more=["--offline"])
    for f in FILES.values():
        assert f"{tmp}/new/{f['name']}" in err, f["name"]
        for a in f["addresses"] + [p["addresses"][0] for p in f.get("parts", [])]:
            assert a in err, a
    assert not site.asked and os.listdir(tmp) == []


def nobody_listening_is_told_soon(tmp, site):
    url, start = site.url, time.monotonic()
    site.close()
    code, out, err = call("fetch", "--data-dir", tmp, "--mirror", url)
    assert code == 3 and "onnect" in err and "could not be reached before" in err, err
    assert time.monotonic() - start < 20
    assert os.listdir(tmp) == []


def a_silent_server_is_given_up(tmp, site):
    site.scripts[path_of("mbpp.jsonl")] = [silent]
    start = time.monotonic()
    fails(3, [path_of("mbpp.jsonl")], site, tmp, "mbpp.jsonl", timeout=1)
    assert time.monotonic() - start < 20
    assert not os.path.exists(tmp + "/mbpp.jsonl")


def redirections_lead_to_the_web_only_and_end(tmp, site):
    path = path_of("mbpp.jsonl")
    for where in ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1/x"]:
        site.scripts[path] = [status(302, Location=where)]
        fails(3, [where], site, tmp, "mbpp.jsonl")
    site.scripts[path] = [status(302, Location=path) for _ in range(20)]
    fails(3, ["redirect"], site, tmp, "mbpp.jsonl")
    assert len(site.asked) < 12
    assert not os.path.exists(tmp + "/mbpp.jsonl")


def a_body_without_end_is_cut(tmp, site):
    site.scripts[path_of("HumanEval.jsonl.gz")] = [endless]
    fails(4, ["larger than the limit"], site, tmp, "HumanEval.jsonl.gz")
    assert not os.path.exists(tmp + "/HumanEval.jsonl.gz")
    site.scripts[path_of("HumanEval.jsonl.gz")] = [lambda h: send(h, 200, {"Content-Length": str(1 << 40)}, b"x")]
    fails(4, ["larger than the limit"], site, tmp, "HumanEval.jsonl.gz")
    for part in os.listdir(tmp):
        assert os.path.getsize(os.path.join(tmp, part)) < 1 << 20, part


def a_full_disk_is_told(tmp, site):
    site.pages[path_of("mbpp.jsonl")] = b"x" * 500000
    fails(3, [f"cannot write '{tmp}/mbpp.jsonl.part'"], site, tmp, "mbpp.jsonl",
          before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000)))
    assert not os.path.exists(tmp + "/mbpp.jsonl")


def a_certificate_of_nobody_is_refused(tmp, site):
    if not shutil.which("openssl"):
        raise Skip("no openssl to make a certificate")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
                    "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", tmp + "/key", "-out", tmp + "/cert"],
                   check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp + "/cert", tmp + "/key")
    site.server.socket = context.wrap_socket(site.server.socket, server_side=True)
    site.pages[path_of("mbpp.jsonl")] = b"secret"
    site.url = site.url.replace("http:", "https:")
    fails(3, ["certificate"], site, tmp + "/data", "mbpp.jsonl")
    # the same server is talked to where its certificate is trusted
    fails(4, ["SHA-256"], site, tmp + "/data", "mbpp.jsonl", env={"SSL_CERT_FILE": tmp + "/cert"})
    # and from there nothing leads to plain HTTP
    site.scripts[path_of("mbpp.jsonl")] = [status(302, Location="http://127.0.0.1:1/x")]
    fails(3, ["redirected to 'http://127.0.0.1:1/x'"], site, tmp + "/data", "mbpp.jsonl",
          env={"SSL_CERT_FILE": tmp + "/cert"})


def an_interrupt_keeps_the_part_for_the_next_time(tmp, site):
    body = read(DATA, "gsm8k_train.jsonl") if HAS_DATA else b"x" * FILES["gsm8k_train.jsonl"]["pinned_bytes"]
    path = path_of("gsm8k_train.jsonl")
    site.pages[path] = body
    etag = '"' + hashlib.md5(body).hexdigest() + '"'

    def stall(h):
        send(h, 200, {"Content-Length": str(len(body)), "ETag": etag}, body[:1000000])
        h.wfile.flush()
        silent(h)

    site.scripts[path] = [stall]
    p = subprocess.Popen([PROGRAM, "data", "fetch", "gsm8k_train.jsonl", "--data-dir", tmp, "--mirror", site.url],
                         env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    part = os.path.join(tmp, "gsm8k_train.jsonl.part")
    for _ in range(200):
        if os.path.exists(part) and os.path.getsize(part) == 1000000:
            break
        time.sleep(0.05)
    # meanwhile nobody else may write there
    fails(3, ["another process", tmp], site, tmp, "mbpp.jsonl")
    p.send_signal(signal.SIGINT)
    out, err = p.communicate(timeout=30)
    assert p.returncode == 130, err
    assert os.path.getsize(part) == 1000000 and not os.path.exists(part[:-5])
    if not HAS_DATA:
        return
    fetched(site, tmp, "gsm8k_train.jsonl")
    assert site.ranges(path) == [None, "bytes=1000000-"], site.ranges(path)
    assert os.listdir(tmp) == ["gsm8k_train.jsonl"] and read(tmp, "gsm8k_train.jsonl") == body


def everything_comes_from_upstream_s_paths(tmp, site):
    site.pages = upstream()
    err = fetched(site, tmp)
    assert sorted(os.listdir(tmp)) == sorted(FILES), os.listdir(tmp)
    for name in FILES:
        assert read(tmp, name) == read(DATA, name), name
    n, times = len(site.asked), {name: os.stat(os.path.join(tmp, name)).st_mtime_ns for name in FILES}
    assert n == 7 + 7, n
    fetched(site, tmp)
    assert len(site.asked) == n
    code, out, err = call("--data-dir", tmp, "--json")
    assert code == 0 and {f["state"] for f in json.loads(out)["files"]} == {"right"}
    os.unlink(tmp + "/mbpp.jsonl")
    fetched(site, tmp)
    assert len(site.asked) == n + 1
    for name in set(FILES) - {"mbpp.jsonl"}:
        assert os.stat(os.path.join(tmp, name)).st_mtime_ns == times[name], name
    fetched(site, tmp, "math500.jsonl", more=["--force"])
    assert len(site.asked) == n + 2 and not os.path.exists(tmp + "/math500.jsonl.old")


def a_folder_that_is_right_needs_no_writing_and_no_network(tmp, site):
    need_data()
    assert call("fetch", "--data-dir", DATA, "--offline")[0] == 0
    assert call("fetch", "--data-dir", DATA, "--mirror", "http://127.0.0.1:1")[0] == 0


def a_torn_transfer_is_gone_on_with(tmp, site):
    need_data()
    body, path = read(DATA, "mbpp.jsonl"), path_of("mbpp.jsonl")
    site.pages[path] = body
    etag = '"' + hashlib.md5(body).hexdigest() + '"'
    site.scripts[path] = [torn(body, 100000, etag)]
    fetched(site, tmp, "mbpp.jsonl", retries=1)
    assert site.ranges(path) == [None, "bytes=100000-"]
    assert site.asked[1][1]["If-Range"] == etag
    assert read(tmp, "mbpp.jsonl") == body and os.listdir(tmp) == ["mbpp.jsonl"]


def a_server_without_ranges_starts_over(tmp, site):
    need_data()
    body, path = read(DATA, "mbpp.jsonl"), path_of("mbpp.jsonl")
    site.scripts[path] = [torn(body, 100000), whole(body)]
    fails(3, [path], site, tmp, "mbpp.jsonl")
    assert os.path.getsize(tmp + "/mbpp.jsonl.part") == 100000
    fetched(site, tmp, "mbpp.jsonl")
    assert site.ranges(path) == [None, "bytes=100000-"]
    assert read(tmp, "mbpp.jsonl") == body and os.listdir(tmp) == ["mbpp.jsonl"]


def a_file_that_changed_in_between_is_not_pieced_together(tmp, site):
    need_data()
    body, path = read(DATA, "mbpp.jsonl"), path_of("mbpp.jsonl")
    site.pages[path] = body
    # told by its ETag
    site.scripts[path] = [torn(b"y" * len(body), 5000, '"old"')]
    fetched(site, tmp, "mbpp.jsonl", retries=1)
    assert site.asked[1][1]["If-Range"] == '"old"' and read(tmp, "mbpp.jsonl") == body
    # not told: what comes of it is not right, and fetched once more, whole
    os.unlink(tmp + "/mbpp.jsonl")
    site.scripts[path] = [torn(b"y" * len(body), 5000)]
    fails(3, [path], site, tmp, "mbpp.jsonl")
    err = fetched(site, tmp, "mbpp.jsonl")
    assert "fetching it whole" in err, err
    assert site.ranges(path)[-3:] == [None, "bytes=5000-", None] and read(tmp, "mbpp.jsonl") == body
    assert os.listdir(tmp) == ["mbpp.jsonl"]


def faults_that_pass_redirections_and_second_addresses_succeed(tmp, site):
    site.pages = upstream()
    path = path_of("mbpp.jsonl")
    site.pages["/elsewhere"] = site.pages[path]
    site.scripts[path] = [status(500), status(429, Retry_After="1"), status(302, Location="/elsewhere")]
    fetched(site, tmp, "mbpp.jsonl", retries=2)
    assert read(tmp, "mbpp.jsonl") == read(DATA, "mbpp.jsonl")
    site.pages[path_of("math500.jsonl", 1)] = site.pages.pop(path_of("math500.jsonl"))
    err = fetched(site, tmp, "math500.jsonl")
    assert "HTTP 404" in err and path_of("math500.jsonl", 1) in err, err


def another_layout_of_the_same_records_is_taken(tmp, site):
    need_data()
    records = json.loads(read(DATA, "sanitized-mbpp.json"))
    site.pages[path_of("sanitized-mbpp.json")] = json.dumps(records, indent=4).encode()
    err = fetched(site, tmp, "sanitized-mbpp.json")
    assert "another layout" in err, err
    code, out, err = call("sanitized-mbpp.json", "--data-dir", tmp, "--json")
    (f,) = json.loads(out)["files"]
    assert code == 0 and f["state"] == "right, other layout" and f["sha256"] != f["pinned_sha256"], out
    p = subprocess.run([PROGRAM, "validate", "-t", "mbpp_sanitized", "-L", "1", "--json", "--data-dir", tmp],
                       capture_output=True, env=environment())
    if p.returncode == 0:  # 3 without a sandbox
        assert FILES["sanitized-mbpp.json"]["pinned_sha256"] in p.stdout.decode(), p.stdout
    records[5]["prompt"] += "."
    site.pages[path_of("sanitized-mbpp.json")] = json.dumps(records).encode()
    os.unlink(tmp + "/sanitized-mbpp.json")
    fails(4, ["SHA-256"], site, tmp, "sanitized-mbpp.json")


def a_wrong_file_is_replaced_and_kept_beside(tmp, site):
    site.pages = upstream()
    write(b"mine", tmp, "mbpp.jsonl")
    err = fetched(site, tmp, "mbpp.jsonl")
    assert f"{tmp}/mbpp.jsonl.old" in err, err
    assert read(tmp, "mbpp.jsonl.old") == b"mine" and read(tmp, "mbpp.jsonl") == read(DATA, "mbpp.jsonl")


def few_shot_examples_are_read_out_of_any_spelling(tmp, site):
    site.pages = upstream_fewshot() if HAS_DATA else need_data()
    fetched(site, tmp, "fewshot.json")
    assert read(tmp, "fewshot.json") == read(DATA, "fewshot.json")
    assert json.loads(read(tmp, "fewshot.json")) == json.loads(read(DATA, "fewshot.json"))
    # line ends of another system, and a second address for a part
    site.pages = {p: b.replace(b"\n", b"\r\n") for p, b in site.pages.items()}
    dinfer = FILES["fewshot.json"]["parts"][-1]["addresses"]
    assert len(dinfer) > 1
    site.pages.pop(urlsplit(dinfer[0]).path)
    os.unlink(tmp + "/fewshot.json")
    fetched(site, tmp, "fewshot.json")
    assert read(tmp, "fewshot.json") == read(DATA, "fewshot.json")


def few_shot_examples_that_differ_are_refused_by_name(tmp, site):
    need_data()
    parts = {p["key"]: urlsplit(p["addresses"][0]).path for p in FILES["fewshot.json"]["parts"]}
    gsm8k, minerva, cot = (parts[k] for k in ["gsm8k_opencompass_4shot", "minerva_math_lm_eval_4shot",
                                              "gsm8k_cot_lm_eval_8shot"])
    for path, change, words in [
        (gsm8k, lambda b: b.replace(b"The answer is 4", b"The answer is 5"), ["gsm8k_opencompass_4shot", "SHA-256"]),
        (gsm8k, lambda b: b.replace(b"gsm8k_infer_cfg =", b"gsm8k_infer ="), ["nothing is assigned to"]),
        (gsm8k, lambda b: b.replace(b"round=[", b"round=[ ("), ["line "]),
        (gsm8k, lambda b: b.replace(b"role='BOT'", b"role=BOT", 1), ["example 1", "'role'"]),
        (gsm8k, lambda b: b[:1000], ["line "]),
        (gsm8k, lambda b: b"\xff" + b, ["not valid UTF-8"]),
        (minerva, lambda b: b.replace(b"list_fewshot_samples", b"list_samples"), ["list_fewshot_samples"]),
        (cot, lambda b: b.replace(b"fewshot_config", b"fewshot_configuration"), ["fewshot_config"]),
        (cot, lambda b: b.replace(b"  samples:", b"  samples: ["), ["line "]),
        (cot, lambda b: b"", ["no YAML document"]),
    ]:
        site.pages = upstream_fewshot()
        site.pages[path] = change(site.pages[path])
        fails(4, [path, *words], site, tmp, "fewshot.json")
        assert os.listdir(tmp) == [], words


def what_was_fetched_is_found_without_being_named(tmp, site):
    site.pages = upstream()
    env = {"XDG_DATA_HOME": tmp}
    code, out, err = call("fetch", "humaneval", "--mirror", site.url, env=env)
    assert code == 0 and out.startswith(f"folder {tmp}/desbench/data\n"), err
    p = subprocess.run([PROGRAM, "extract", "humaneval"], capture_output=True, env=environment(env),
                       input=b'{"output":"```python\\ndef f(): pass\\n```","problem":"HumanEval/0"}\n')
    assert p.returncode == 0, p.stderr.decode()
    p = subprocess.run([PROGRAM, "extract", "mbpp"], capture_output=True, env=environment(env), input=b"{}\n")
    assert p.returncode == 3 and b"desbench data fetch" in p.stderr, p.stderr
    env = {"XDG_DATA_HOME": "", "HOME": ""}
    code, out, err = call(env=env)
    assert code == 3 and "--data-dir" in err, err


def main():
    global FILES
    FILES = files()
    cases = [f for f in list(globals().values()) if getattr(f, "__code__", None) and f.__code__.co_argcount == 2 and
             f.__code__.co_varnames[:2] == ("tmp", "site")]
    print(f"1..{len(cases)}", flush=True)
    n_failed = 0
    for i, case in enumerate(cases, 1):
        tmp = tempfile.mkdtemp(prefix="desbench-data-")
        site = Site()
        name = case.__name__.replace("_", " ")
        try:
            case(tmp, site)
            print(f"ok {i} {name}", flush=True)
        except Skip as why:
            print(f"ok {i} {name} # SKIP {why}", flush=True)
        except Exception:
            n_failed += 1
            print(f"not ok {i} {name}", flush=True)
            print(textwrap.indent(traceback.format_exc(), "# "), flush=True)
        finally:
            try:
                site.close()
            except OSError:
                pass
            shutil.rmtree(tmp, ignore_errors=True)
    return n_failed > 0


if __name__ == "__main__":
    sys.exit(main())
