#!/usr/bin/env python3
"""Record what the routers of a mixture-of-experts model in PyTorch say, for `desbench trace replay`.

    from trace_hook import RouterTrace
    with RouterTrace("out.trace", model, top_k=8, renorm=True):
        model(input_ids)                        # any number of calls, generate() too

Forward hooks on the router modules take their logits; nothing of the model is changed. Each row of
each call becomes a sequence of one forward (docs/traces.md has the format). Routers are, unless
given, the modules with a weight of (experts, width) whose name ends in "gate" or "router", in the
order of model.named_modules(); they return logits (tokens, experts), or a tuple that begins with
them and may hold the experts chosen, as those of transformers do.

  top_k      experts of a token               score       "softmax" or "sigmoid"
  renorm     chosen scores are divided by their sum, and multiplied by `scale`
  groups     (n_group, topk_group)            bias        a tensor (experts) a router: selection bias
  top        keep so many of a token's scores; None: all
  mask_id    the mask token's id, of models that have one
"""
import hashlib
import json
import os
import struct

import torch

VERSION = 1
SIGMOID, RENORM, BIAS, IMPORTANCE, EXECUTED = 1, 2, 4, 8, 16


def find_routers(model):
    return [m for name, m in model.named_modules() if name.rsplit(".", 1)[-1] in ("gate", "router")
            and getattr(m, "weight", None) is not None and m.weight.dim() == 2]


class RouterTrace:
    def __init__(self, path, model, *, top_k, score="softmax", renorm=False, scale=1.0, groups=(0, 0), bias=None,
                 top=None, mask_id=None, routers=None, name=None, item="call"):
        self.model, self.path, self.item = model, path, item
        self.routers = routers or find_routers(model)
        if not self.routers:
            raise ValueError("no routers found; name them: routers=[...]")
        if score not in ("softmax", "sigmoid"):
            raise ValueError(f"score is softmax or sigmoid, not {score!r}")
        self.score, self.top_k = score, top_k
        self.n_exp = self.routers[0].weight.shape[0]
        self.n_top = min(top or self.n_exp, self.n_exp)
        if not 1 <= top_k <= self.n_top:
            raise ValueError(f"need 1 <= top_k {top_k} <= scores kept {self.n_top}")
        if self.n_top < self.n_exp and (groups[0] or bias is not None):
            raise ValueError("groups and a selection bias need all scores of a token")
        self.n_calls = self.n_forwards = 0
        self.hash = hashlib.sha256()
        self.file = open(path + ".part", "wb")
        flags = (score == "sigmoid") * SIGMOID | renorm * RENORM | (bias is not None) * BIAS | IMPORTANCE | EXECUTED
        about = {"model": name or type(model).__name__, "selector": "vanilla", "writer": "trace_hook.py"}
        text = json.dumps(about).encode()
        self.put(b"DESTRACE" + struct.pack("<8IfiI12x", VERSION, flags, len(self.routers), self.n_exp, top_k, *groups,
                                           self.n_top, scale, -1 if mask_id is None else mask_id, len(text)) + text)
        for b in bias or []:
            self.put(floats(b))

    def put(self, data):
        self.hash.update(data)
        self.file.write(data)

    def __enter__(self):
        self.seen = {}
        self.hooks = [m.register_forward_hook(self.keep(i)) for i, m in enumerate(self.routers)]
        self.hooks += [self.model.register_forward_pre_hook(self.begin, with_kwargs=True),
                       self.model.register_forward_hook(self.end)]
        return self

    def __exit__(self, kind, value, trace):
        for h in self.hooks:
            h.remove()
        if kind is None:
            self.put(b"END " + struct.pack("<Q", self.n_forwards))
            self.file.write(self.hash.hexdigest().encode())
        self.file.close()
        if kind is None:
            os.replace(self.path + ".part", self.path)
        else:
            os.remove(self.path + ".part")

    def begin(self, module, args, kwargs):
        ids = kwargs.get("input_ids", args[0] if args else None)
        if ids is None:
            raise ValueError("the model is called without input_ids")
        self.ids = ids.detach().cpu().to(torch.int32)
        at = kwargs.get("position_ids")
        first = kwargs.get("cache_position")
        n_row, n_tok = self.ids.shape
        if at is None:
            at = (first if first is not None else torch.arange(n_tok))[None]
        self.positions = at.detach().cpu().to(torch.int32).expand(n_row, n_tok)
        self.seen = {}

    def keep(self, i):
        def hook(module, args, output):
            parts = output if isinstance(output, tuple) else (output,)
            logits = parts[0].detach().float().reshape(-1, self.n_exp)
            scores = logits.softmax(-1) if self.score == "softmax" else logits.sigmoid()
            chosen = next((p for p in parts[1:] if torch.is_tensor(p) and not p.is_floating_point()), None)
            chosen = scores.topk(self.top_k, -1).indices if chosen is None else chosen.reshape(len(scores), -1)
            width = args[0].detach().float().reshape(len(scores), -1).abs().sum(-1)
            self.seen[i] = scores.cpu(), chosen.cpu(), width.cpu()
        return hook

    def end(self, module, args, output):
        if len(self.seen) != len(self.routers):
            raise ValueError(f"{len(self.seen)} of {len(self.routers)} routers were asked")
        n_row, n_tok = self.ids.shape
        for row in range(n_row):
            name = f"{self.item}/{self.n_calls}/{row}".encode()
            n_canvas = int(self.positions[row].max()) + 1
            self.put(b"SEQ " + struct.pack("<Q4I", 0, n_canvas, 0, 0, len(name)) + name)
            self.put(b"FWD " + struct.pack("<4I", 0, 0, 0, n_tok) + ints(self.ids[row]) + ints(self.positions[row]))
            for i in range(len(self.routers)):
                part = slice(row * n_tok, (row + 1) * n_tok)
                self.layer(*(x[part] for x in self.seen[i]))
            self.n_forwards += 1
        self.n_calls += 1

    def layer(self, scores, chosen, width):
        bits = bytearray((self.n_exp + 7) // 8)
        for e in set(chosen.flatten().tolist()):
            bits[e // 8] |= 1 << e % 8
        self.put(bytes(bits) + floats(width))
        if self.n_top == self.n_exp:
            self.put(floats(scores))
            return
        best = torch.sort(scores, dim=-1, descending=True, stable=True) # ties: the lower id
        for s, ids, values in zip(scores, best.indices[:, :self.n_top], best.values[:, :self.n_top]):
            tail = max(float(s.double().sum() - values.double().sum()), 0.0)
            self.put(struct.pack(f"<{self.n_top}H", *ids.tolist()) + floats(values) + struct.pack("<f", tail))


def floats(t):
    return t.detach().cpu().float().contiguous().numpy().astype("<f4").tobytes()


def ints(t):
    return t.numpy().astype("<i4").tobytes()
