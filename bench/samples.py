"""Samples as tricot's training takes them: their order, rows of tokens, reading ahead."""
import concurrent.futures
import json

import numpy as np


# ---- the order of samples: Philox 4x32-10 (Salmon et al., SC'11), a shuffle for each epoch ----

def philox_uniform(seed, stream, index):
    low = (1 << 32) - 1
    key = [seed & low, seed >> 32]
    c = [index & low, index >> 32, stream & low, stream >> 32]
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> 32) ^ c[1] ^ key[0], b & low, (a >> 32) ^ c[3] ^ key[1], a & low]
        key = [(key[0] + 0x9E3779B9) & low, (key[1] + 0xBB67AE85) & low]
    return ((c[0] << 21) ^ (c[1] >> 11)) * 2.0 ** -53


def batches(count, batch, seed, steps):
    """The indices of each step's samples."""
    in_epoch = count // batch
    for step in range(steps):
        if step % in_epoch == 0:
            order = list(range(count))
            for i in range(count - 1, 0, -1):
                k = int(philox_uniform(seed, step // in_epoch, i) * (i + 1))
                order[i], order[k] = order[k], order[i]
        first = step % in_epoch * batch
        yield order[first:first + batch]


# ---- texts ----

def token_lists(path, length):
    """Lists of ids, one JSON list a line in the file, cut to `length`; [SEP] stays."""
    with open(path, encoding="utf-8") as file:
        lists = [json.loads(line) for line in file]
    return [ids if len(ids) <= length else ids[:length - 1] + ids[-1:] for ids in lists]


def padded(lists, length):
    """Arrays of ids and of masks, [texts, length]."""
    ids = np.zeros([len(lists), length], "int64")
    mask = np.zeros([len(lists), length], "int64")
    for row, tokens in enumerate(lists):
        ids[row, :len(tokens)] = tokens
        mask[row, :len(tokens)] = 1
    return ids, mask


def packed(lists, length):
    """tricot's inputs for texts that share rows (docs/text.md): first fit, the longest first."""
    rows, starts = [], {}
    for text in sorted(range(len(lists)), key=lambda n: -len(lists[n])):
        row = next((row for row in rows if sum(len(lists[t]) for t in row) + len(lists[text])
                    <= length), None)
        if row is None:
            rows.append(row := [])
        row.append(text)
    arrays = {name: np.zeros([len(rows), length], "int64")
              for name in ("input_ids", "position_ids", "segment_ids")}
    for r, row in enumerate(rows):
        at = 0
        for number, text in enumerate(row):
            cells = slice(at, at + len(lists[text]))
            arrays["input_ids"][r, cells] = lists[text]
            arrays["position_ids"][r, cells] = range(len(lists[text]))
            arrays["segment_ids"][r, cells] = number + 1
            starts[text] = r * length + at
            at = cells.stop
    arrays["text_starts"] = np.array([starts[t] for t in range(len(lists))], "int64")
    return arrays


# ---- reading ahead ----

def read_ahead(orders, read):
    """read(order) of each order, the next one while the last is worked on."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = None
        for order in orders:
            following = pool.submit(read, order)
            if waiting:
                yield waiting.result()
            waiting = following
        if waiting:
            yield waiting.result()
