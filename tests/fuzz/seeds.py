"""What a fuzz target starts from: the bundled samples, shapes and plans, and texts of our own."""
import glob
import gzip
import json
import os
import struct

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

CODE = [
    "def f(x):\n    return x + 1\n",
    "```python\ndef f(x):\n    return x + 1\n```",
    "Here is the code:\n\n```py\nimport math\n\ndef f(x: int) -> int:\n    return x + 1\n```\nIt adds one.",
    "```\ndef g(xs):\n    return [f(x) for x in xs]\n```\nand\n~~~python\nprint(f(1))\n~~~",
    "    return x + 1\n\n# test\nassert f(1) == 2\nif __name__ == '__main__':\n    f(0)\n",
    "[BEGIN]\ndef f(x):\n\treturn x + 1\n[DONE]",
    "  ```python\n  def f(x):\n      '''doc ```'''\n      return x\n  ```",
    "class A:\n    def f(self):\n        return \"\"\"a\nb\"\"\"\n\nasync def g(): pass\n",
    "def f(x): return (x +\n  1)\n@decor\ndef g(): ...\n\r\nlambda: 0\\\n",
    "<|endoftext|>def f(x):\n    return x",
]
ANSWERS = [
    "The answer is 42.", "#### 1,234", "So she has $18.50 left.\nThe answer is $18.50.", "\\boxed{\\frac{1}{2}}",
    "Final Answer: The final answer is $x=3$. I hope it is correct.", "Answer: 70\\%", "**Answer:** -3.5e2",
    "First 3, then 4. Therefore the total is 7", "$\\boxed{}$ then \\boxed{5}", "2 + 3 = 5", "1/2", "no number here",
    "\\[ x \\in [0, \\infty) \\]", "\\fbox{\\text{Friday}}", "A: 12 apples\n\nProblem: next",
]
PAIRS = [
    ("1/2", "0.5"), ("\\frac{1}{2}", "\\dfrac12"), ("(1,2)", "\\left(1,2\\right)"), ("\\{1,2\\}", "2,1"),
    ("[0,\\infty)", "x \\ge 0"), ("\\sqrt{8}", "2\\sqrt2"), ("x^2+2x+1", "(x+1)^2"), ("10\\%", "10"),
    ("\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", "\\begin{bmatrix}1&2\\\\3&4\\end{bmatrix}"), ("5\\text{ cm}", "5"),
    ("1,234", "1234"), ("\\pm 3", "3,-3"), ("(-\\infty,2)\\cup(3,5]", "(3,5]\\cup(-\\infty,2)"), ("x=3", "3"),
    ("\\text{Friday}", "friday"), ("2^{10}", "1024"), ("1011_2", "1011_{2}"), ("90^\\circ", "90"), ("\\pi/4", "0.785398"),
    ("\\binom{5}{2}", "10"), ("5!", "120"), ("\\log_2 8", "3"), ("e^{i\\pi}", "-1"), ("|{-3}|", "3"), ("0.\\overline{3}", "1/3"),
    ("\\sin 30^\\circ", "\\tfrac12"), ("3:4", "3/4"), ("\\$5.00", "5"), ("1 \\frac{1}{2}", "3/2"), ("a<b\\le c", "c \\ge b > a"),
    ("\\lfloor 2.5 \\rfloor", "2"), ("y = 2x + 1", "2x - y + 1 = 0"), ("\\emptyset", "\\varnothing"), ("2+3i", "3i+2"),
    ("1.5 \\times 10^{3}", "1500"), ("\\mathbb{R}\\setminus\\{0\\}", "x\\ne0"), ("\\sqrt[3]{27}", "3"), ("12 apples", "12"),
]
JSON = [
    b"null", b"[1, 2.5, -3e-7, true, false]", b'{"a": {"b": ["caf\\u00e9", "\\ud83d\\ude00", "\\n\\"\\\\"]}}', b'"\xc3\xa9"',
    b"9223372036854775807", b"-9223372036854775808", b"1e308", b"0.1", b"[[[[]]]]", b"{}", b'{"a": 1, "a": 2}', b"[1,]",
]
YAML = [
    b"a: 1\nb: [x, 'y', \"z\\n\"]\n", b"- - 1\n  - 2\n- {a: ~, b: true}\n", b"x: &a [1, 2]\ny: *a\n", b"t: |\n  one\n  two\nu: >-\n  a\n  b\n",
    b"--- !!str 5\n...\n", b"? k\n: v\n", b"%YAML 1.1\n---\n1.5e3\n", b"# only\n", b"&a [*a]", b"a: 'it''s'\nb: 0x10\nc: .5\n",
]
PLANS = [
    b"tasks: gsm8k,math500\nlimit: 10\n", b"selector:\n  - vanilla\n  - topk:k=4\nno-data-check: false\n",
    b"model: >-\n  a\n  b\ndata-dir: \"\\u00e9\"\n", b"tasks: [gsm8k, \"math500\"]\njson: true\n", b"seed: 1\nthreads: 2\ntemperature: 0.5\n",
    b"runs:\n  - model: [a, b]\n    seed: 1-3\n  - {tasks: gsm8k, selector: [vanilla, 'topk:k=2,4']}\nlimit: 1\n", b"runs: []\n",
    b"threshold: 0.8-0.95+0.05\nblock-length: 8-64*2\nruns:\n- steps: 1,2\n", b"runs: 1\n", b"runs:\n - runs:\n    - seed: 1\n",
    b"\xef\xbb\xbfsteps: 32\n", b"limit: 1\nlimit: 2\n", b"a: &x 1\nb: *x\n", b"tasks: []\n", b"--- \nbackend: ref\n...\n",
]
PYTHON = [
    b"\0x = dict(a=['b\\n' r'\\d', (1, -2.5)], c={'d': f(g, h=\"i\")},\n e=\'\'\'j\nk\'\'\')\n", b"\0x = [True, False, None, 1_000, .5, 1e3]\n",
    b"\0x = '\\x41\\u00e9\\U0001F600\\101' u\"b\" \\\n 'c'\n", b"\0x = ()\nx = (1)\nx = (1,)\nx: int = 2\nx == 3\nx.y = 4\n",
    b"\1def y():\n    return 1\n\ndef x(a: str = 'return 1') -> list:\n    \"\"\"Say\n    return 2\n    \"\"\"\n    # no\n    return [\n{'a': 'b'},\n    ]\n",
    b"\0x = {}; y = dict()\nx=a.b.c(d, [1], k=dict(a=1))\n", b"\0x = [[[[[[]]]]]]\n", b"\0x = 1 + 2\n", b"\0x = 'open\n",
]
CSV = [
    b"a,b,c\n1,2,3\n", b'"a,b","c""d"\r\n"e\nf",\r\n', b"\n\n,\n", b' a ,"b "\n', b'"open', b'a"b\n', b"\t,\xff,\x00\n", b"x\r\ny",
]


# Inputs that broke a promise once. They stay in the packs whatever else reaches what they reach.
FINDINGS = {
    "completion": [b'\x0421/21', b'\x04\xe2\xc0\x89\xa51/2\x041/3'],
    "math": [b"1/mes0^{3}\n10mes 10^{3}\n10^500^500", b"1/mes0^{\\",
             b"10me0^s{1}\n10s00em015{310me1mes \n0!!05^00105{310mes \n1!}^05^0\n^05^s \n1!}^04^0\n^05^1001",
             b"18^55^{-$$3}+3i\n3^54~{-$$3}+3i\n^55^{-$$3}+3i\n^55^{-$\\$$3}+1ii\n3^54~{-$$3}+3i\n31"],
}


def sample(name):
    with open(os.path.join(ROOT, "tasks", "sample", name), "rb") as f:
        return f.read()


def jsonl():
    files = ["humaneval.jsonl", "humaneval_pro.json", "mbpp.jsonl", None, "gsm8k.jsonl", "math500.jsonl"]
    sanitized = [dict(source_file="x", task_id=11 + i, prompt="Add one.", code="def f(x):\n    return x + 1",
                      test_imports=["import math"][:i], test_list=["assert f(1) == 2"]) for i in range(2)]
    for k, name in enumerate(files):
        records = [sanitized] if name is None else []
        if name and name.endswith(".jsonl"):
            lines = sample(name).splitlines(keepends=True)
            yield from (bytes([k]) + line for line in lines)
            yield bytes([k]) + b"".join(lines[:2])
        elif name:
            records = [json.loads(sample(name))]
        for r in records:
            yield bytes([k]) + json.dumps(r).encode()
            yield bytes([k]) + json.dumps(r[:1], indent=1).encode()


def math():
    yield from (f"{a}\n{b}".encode() for a, b in PAIRS)
    yield from (a.encode() for a in ANSWERS)
    for line in sample("math500.jsonl").splitlines():
        r = json.loads(line)
        yield f"{r['answer']}\n{r['answer']}".encode()
        yield r["solution"].encode()


def completion():
    texts = CODE + ANSWERS
    for name in ("humaneval.jsonl", "mbpp.jsonl", "gsm8k.jsonl", "math500.jsonl"):
        for line in sample(name).splitlines():
            r = json.loads(line)
            texts.append(r.get("canonical_solution") or r.get("code") or r.get("answer"))
    for i, t in enumerate(texts):
        for task in range(6):
            yield bytes([task, (i * 37 + task) & 255]) + t.encode()


def gzipped():
    texts = [b"", b"a", b"hello hello hello\n" * 20, bytes(range(256))]
    for i, t in enumerate(texts):
        yield b"\0" + gzip.compress(t, mtime=0)
        yield b"\0" + gzip.compress(t, mtime=0) + gzip.compress(b"x", mtime=0)
        yield from (bytes([mode, i, 7]) + t for mode in (1, 2, 3))


def varint(x):
    out = b""
    while True:
        out += bytes([x & 127 | (128 if x > 127 else 0)])
        x >>= 7
        if not x:
            return out


def telemetry():
    one = struct.unpack("<I", struct.pack("<f", 1.0))[0]
    for n_forwards, n_layer, n_exp, n_positions in ((1, 1, 4, 2), (2, 3, 8, 4), (0, 0, 0, 0), (3, 1, 64, 16)):
        body = b"".join(map(varint, (n_forwards, n_layer, n_exp, n_positions, 8, n_layer % 2)))
        for f in range(n_forwards):
            body += b"".join(map(varint, (0, f, 5, 4, 3, 1000 + f)))
        for k in range(n_forwards * n_layer):
            body += b"".join(map(varint, (2, 1, 0, 3, 2, one if k == 1 else 0, 2)))
            if n_layer % 2:
                body += varint(one) if k == 0 else varint(0)
        body += b"".join(varint(p % (n_forwards + 1)) for p in range(n_positions))
        bits = ""
        for _ in range(n_forwards * n_layer):
            for x in (3, 1, 5, 2, 1): # two experts: id 0 with 5 tokens, id 2 with 1
                bits += "0" * (x.bit_length() - 1) + f"{x:b}"
        bits += "0" * (-len(bits) % 8)
        body += bytes(int(bits[i:i + 8][::-1], 2) for i in range(0, len(bits), 8))
        yield body


def trace():
    def header(flags, n_layer, n_exp, top_k, n_group, topk_group, n_top, scale, text):
        text = json.dumps(text).encode()
        return b"DESTRACE" + struct.pack("<8IfiI12x", 1, flags, n_layer, n_exp, top_k, n_group, topk_group, n_top, scale, 7,
                                         len(text)) + text

    def sequence(item, n_prompt, n_gen, block):
        return b"SEQ " + struct.pack("<Q4I", 99, n_prompt, n_gen, block, len(item)) + item

    def forward(n_tok, block, step, layers):
        ids = struct.pack(f"<{n_tok}i", *range(n_tok))
        return b"FWD " + struct.pack("<4I", block, step, step == 0, n_tok) + ids + ids + b"".join(layers)

    text = {"model": "m", "selector": "vanilla"}
    full = struct.pack("<8f", *(0.25, 0.5, 0.125, 0.125, 0.5, 0.5, 0, 0))
    top = struct.pack("<2H3f", 1, 0, 0.5, 0.25, 0.25) * 2
    return [
        b"\0" + header(0, 1, 4, 2, 0, 0, 4, 1.0, text),
        b"\2" + header(16, 1, 4, 2, 0, 0, 4, 1.0, dict(text, task="t")) + sequence(b"t/1", 1, 2, 1)
        + forward(2, 0, 0, [b"\x0f" + full]) + forward(2, 1, 0, [b"\x0f" + full]),
        b"\1" + header(0, 2, 4, 2, 0, 0, 2, 2.5, text) + sequence(b"", 2, 0, 0) + forward(2, 0, 0, [top, top]),
        b"\1" + header(15, 1, 4, 2, 2, 1, 4, 1.0, text) + struct.pack("<4f", 1, -1, 0, 2) + sequence(b"x", 2, 0, 0)
        + forward(2, 0, 1, [struct.pack("<2f", 1, 2) + full]),
        b"\xffDESTRACE",
    ]


def config():
    for path in sorted(glob.glob(os.path.join(ROOT, "models", "shapes", "*", "config.json"))):
        with open(path) as f:
            c = json.load(f)
        yield json.dumps(c, separators=(",", ":")).encode()
        for k in list(c)[::5]: # and without a key
            yield json.dumps({x: c[x] for x in c if x != k}, separators=(",", ":")).encode()


def safetensors():
    tensors = {"a": ("F32", [2, 3]), "b.weight": ("BF16", [4]), "c": ("F16", []), "d": ("F32", [0, 5]), "e": ("I64", [1])}
    size = {"F32": 4, "BF16": 2, "F16": 2, "I64": 8}
    for names in (["a"], ["b.weight", "c"], list("acd"), list(tensors), []):
        header, at = {"__metadata__": {"format": "pt"}}, 0
        for n in names:
            dtype, shape = tensors[n]
            bytes_ = size[dtype]
            for d in shape:
                bytes_ *= d
            header[n] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + bytes_]}
            at += bytes_
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        yield struct.pack("<Q", len(text)) + text + bytes(at)
        yield struct.pack("<Q", len(text)) + text + bytes(max(at - 1, 0))


def tokenizer():
    """A byte-level BPE of a few tokens, in the form of the shapes' tokenizers."""
    with open(os.path.join(ROOT, "models", "shapes", "tiny-llada-moe", "tokenizer.json")) as f:
        t = json.load(f)
    vocab = t["model"]["vocab"]
    few = dict(sorted(vocab.items(), key=lambda x: x[1])[:6])
    t["model"]["vocab"] = few
    t["model"]["merges"] = []
    t["added_tokens"] = t["added_tokens"][:1]
    for i, a in enumerate(t["added_tokens"]):
        a["id"] = len(few) + i
    yield json.dumps(t, separators=(",", ":"), ensure_ascii=False).encode()
    names = list(few)
    t["model"]["vocab"] = {**few, names[0] + names[1]: len(few) + 1}
    t["model"]["merges"] = [[names[0], names[1]]]
    yield b"Hi\0" + json.dumps(t, separators=(",", ":"), ensure_ascii=False).encode()
    t["model"]["merges"] = [names[0] + " " + names[1]]
    t["normalizer"] = {"type": "NFC"}
    yield b"e\xcc\x81 x\0" + json.dumps(t, separators=(",", ":"), ensure_ascii=False).encode()


def baseline():
    with open(os.path.join(ROOT, "tests", "data", "baseline.json"), "rb") as f:
        text = f.read()
    whole = json.loads(text)
    yield text
    yield json.dumps(whole, separators=(",", ":")).encode()
    task = whole["tasks"][0]
    for tasks in ([task], [dict(task, items=[])], [task, task], [dict(task, items=task["items"] * 2)], []):
        yield json.dumps(dict(whole, tasks=tasks), separators=(",", ":")).encode()
    for k in whole: # without a member, and with one of another type
        yield json.dumps({x: whole[x] for x in whole if x != k}, separators=(",", ":")).encode()
    for k in task:
        yield json.dumps(dict(whole, tasks=[dict(task, **{k: None})]), separators=(",", ":")).encode()
    for i, value in enumerate(["x", -1, None, "z" * 64, 5, {}, "0" * 63]):
        item = list(task["items"][0])
        item[i] = value
        yield json.dumps(dict(whole, tasks=[dict(task, items=[item])]), separators=(",", ":")).encode()


def plan():
    yield from PLANS
    for path in sorted(glob.glob(os.path.join(ROOT, "plans", "*.yaml"))):
        with open(path, "rb") as f:
            yield f.read()


TARGETS = {
    "baseline": baseline, "completion": completion, "config": config, "csv": lambda: CSV, "gzip": gzipped,
    "json": lambda: JSON + [x[1:] for x in jsonl()], "jsonl": jsonl, "math": math, "plan": plan, "python": lambda: PYTHON,
    "safetensors": safetensors, "telemetry": telemetry, "tokenizer": tokenizer, "trace": trace, "yaml": lambda: YAML + PLANS,
}


def of(target):
    return [*TARGETS[target](), *FINDINGS.get(target, [])]
