/*
 * Byte-level BPE: tables and the merge loop.
 *
 * The symbols of a piece form a doubly linked list. A heap holds (rank, position) of every
 * adjacent pair that has a merge, one 64-bit key each, so its minimum is the lowest rank and of
 * equal ranks the leftmost. Entries are not removed when a neighbour merges first: an entry is
 * stale unless the pair at its position is still the one its rank stands for.
 *
 * Source: Sennrich et al. 2016 (arXiv:1508.07909), bytes for characters as in GPT-2.
 */
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "base/size.h"
#include "base/utf8.h"
#include "engine/tokenizer_impl.h"

/* ---- spelling of bytes ------------------------------------------------------------------ */

/* Bytes that stand for themselves: the printable ones of Latin-1. */
static bool is_own_char(uint32_t b)
{
    return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || (b >= 174 && b <= 255);
}

uint32_t byte_to_char(unsigned char byte)
{
    uint32_t b = byte;

    if (is_own_char(b))
        return b;
    if (b <= 32)
        return 256 + b;
    if (b <= 160)
        return 256 + 33 + (b - 127);
    return 256 + 67; /* 173, the soft hyphen */
}

int char_to_byte(uint32_t c)
{
    if (c < 256)
        return is_own_char(c) ? (int)c : -1;
    c -= 256;
    if (c <= 32)
        return (int)c;
    if (c <= 66)
        return (int)(c - 33 + 127);
    return c == 67 ? 173 : -1;
}

/* ---- tables ----------------------------------------------------------------------------- */

/* Slots for n entries, a power of two at most half full; 0 on overflow. */
static size_t slots_for(size_t n)
{
    size_t slots = 16;

    while (slots / 2 < n)
        if (!size_mul(slots, 2, &slots))
            return 0;
    return slots;
}

enum status bpe_init(struct bpe *b, size_t max_id, size_t n_vocab, size_t n_merges,
                     struct error *err)
{
    size_t vocab_slots = slots_for(n_vocab), merge_slots = slots_for(n_merges);

    b->n_tokens = max_id + 1;
    if (vocab_slots && merge_slots) {
        b->tokens = arena_array(&b->arena, b->n_tokens, sizeof(*b->tokens));
        b->vocab_slots = arena_array(&b->arena, vocab_slots, sizeof(*b->vocab_slots));
        b->merges = arena_array(&b->arena, n_merges, sizeof(*b->merges));
        b->merge_slots = arena_array(&b->arena, merge_slots, sizeof(*b->merge_slots));
    }
    if (!b->tokens || !b->vocab_slots || !b->merges || !b->merge_slots)
        return error_set(err, ST_NOMEM, "out of memory for %zu tokens and %zu merges", b->n_tokens,
                         n_merges);
    b->vocab_mask = vocab_slots - 1;
    b->merge_mask = merge_slots - 1;
    memset(b->byte_id, 0xff, sizeof(b->byte_id));
    return ST_OK;
}

void bpe_release(struct bpe *b)
{
    arena_release(&b->arena);
    *b = (struct bpe){ 0 };
}

/* The slot that holds this text, or the free one where it belongs. */
static int32_t *vocab_slot(const struct bpe *b, const char *text, size_t len)
{
    size_t i = (size_t)rng_hash(text, len) & b->vocab_mask;

    for (;; i = (i + 1) & b->vocab_mask) {
        int32_t id = b->vocab_slots[i] - 1;

        if (id < 0 || (b->tokens[id].text_len == len && memcmp(b->tokens[id].text, text, len) == 0))
            return &b->vocab_slots[i];
    }
}

int32_t bpe_find(const struct bpe *b, const char *text, size_t len)
{
    return *vocab_slot(b, text, len) - 1;
}

/* The bytes a token decodes to: each character stands for one, but if any does not, the token
 * is its own UTF-8. That is how Hugging Face's ByteLevel decoder treats added tokens, too. */
static bool set_bytes(struct bpe *b, struct token *t)
{
    char *bytes = arena_alloc(&b->arena, t->text_len + 1);
    uint32_t n = 0, c = 0;

    if (!bytes)
        return false;
    for (size_t at = 0; at < t->text_len;) {
        int k = utf8_decode(t->text + at, t->text_len - at, &c);
        int byte = k ? char_to_byte(c) : -1;

        if (byte < 0) {
            t->bytes = t->text;
            t->n_bytes = t->text_len;
            return true;
        }
        bytes[n++] = (char)byte;
        at += (size_t)k;
    }
    t->bytes = bytes;
    t->n_bytes = n;
    return true;
}

enum status bpe_set_token(struct bpe *b, int32_t id, const char *text, size_t len, bool in_vocab,
                          struct error *err)
{
    struct token *t = &b->tokens[id];
    char *copy = arena_strdup(&b->arena, text, len);

    if (!copy || len > UINT32_MAX)
        return error_set(err, ST_NOMEM, "out of memory for token %d", (int)id);
    t->text = copy;
    t->text_len = (uint32_t)len;
    if (!set_bytes(b, t))
        return error_set(err, ST_NOMEM, "out of memory for token %d", (int)id);
    if (in_vocab) {
        *vocab_slot(b, copy, len) = id + 1;
        if (t->n_bytes == 1 && t->bytes != t->text)
            b->byte_id[(unsigned char)t->bytes[0]] = id;
    }
    return ST_OK;
}

/* The slot of this pair, or the free one where it belongs. */
static uint32_t *merge_slot(const struct bpe *b, int32_t left, int32_t right)
{
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    size_t i = (size_t)splitmix64(&key) & b->merge_mask;

    for (;; i = (i + 1) & b->merge_mask) {
        uint32_t slot = b->merge_slots[i];

        if (!slot || (b->merges[slot - 1].left == left && b->merges[slot - 1].right == right))
            return &b->merge_slots[i];
    }
}

bool bpe_add_merge(struct bpe *b, int32_t left, int32_t right, int32_t made)
{
    uint32_t *slot = merge_slot(b, left, right);

    if (*slot)
        return false;
    b->merges[b->n_merges] = (struct merge){ left, right, made };
    *slot = (uint32_t)++b->n_merges;
    return true;
}

/* ---- encoding --------------------------------------------------------------------------- */

struct bpe_symbol {
    int32_t id;         /* -1: merged into the one before */
    int32_t prev, next; /* -1 at the ends */
};

bool id_list_add(struct id_list *l, int32_t id)
{
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap : 64, bytes;
        int32_t *data;

        if (!size_mul(cap, 2, &cap) || !size_mul(cap, sizeof(*data), &bytes) ||
            !(data = realloc(l->data, bytes)))
            return false;
        l->data = data;
        l->cap = cap;
    }
    l->data[l->n++] = id;
    return true;
}

void bpe_scratch_release(struct bpe_scratch *s)
{
    free(s->symbols);
    free(s->heap);
    buf_release(&s->spelling);
    *s = (struct bpe_scratch){ 0 };
}

static bool heap_push(struct bpe_scratch *s, uint64_t key)
{
    size_t i;

    if (s->heap_n == s->heap_cap) {
        size_t cap = s->heap_cap ? s->heap_cap : 64, bytes;
        uint64_t *heap;

        if (!size_mul(cap, 2, &cap) || !size_mul(cap, sizeof(*heap), &bytes) ||
            !(heap = realloc(s->heap, bytes)))
            return false;
        s->heap = heap;
        s->heap_cap = cap;
    }
    for (i = s->heap_n++; i && s->heap[(i - 1) / 2] > key; i = (i - 1) / 2)
        s->heap[i] = s->heap[(i - 1) / 2];
    s->heap[i] = key;
    return true;
}

static uint64_t heap_pop(struct bpe_scratch *s)
{
    uint64_t top = s->heap[0], last = s->heap[--s->heap_n];
    size_t i = 0, child;

    while ((child = 2 * i + 1) < s->heap_n) {
        if (child + 1 < s->heap_n && s->heap[child + 1] < s->heap[child])
            child++;
        if (s->heap[child] >= last)
            break;
        s->heap[i] = s->heap[child];
        i = child;
    }
    s->heap[i] = last;
    return top;
}

/* Queue the pair that starts at symbol `at`, if it has a merge. */
static bool push_pair(const struct bpe *b, struct bpe_scratch *s, int32_t at)
{
    const struct bpe_symbol *sym = &s->symbols[at];
    uint32_t slot;

    if (sym->next < 0)
        return true;
    slot = *merge_slot(b, sym->id, s->symbols[sym->next].id);
    return !slot || heap_push(s, (uint64_t)(slot - 1) << 32 | (uint32_t)at);
}

/* Do one merge of the heap's, if it is not stale. */
static bool merge_next(const struct bpe *b, struct bpe_scratch *s)
{
    uint64_t key = heap_pop(s);
    const struct merge *m = &b->merges[key >> 32];
    int32_t at = (int32_t)(uint32_t)key;
    struct bpe_symbol *left = &s->symbols[at], *right;

    if (left->id != m->left || left->next < 0)
        return true;
    right = &s->symbols[left->next];
    if (right->id != m->right)
        return true;
    left->id = m->made;
    left->next = right->next;
    right->id = -1;
    if (left->next >= 0)
        s->symbols[left->next].prev = at;
    return push_pair(b, s, at) && (left->prev < 0 || push_pair(b, s, left->prev));
}

static bool reserve_symbols(struct bpe_scratch *s, size_t n)
{
    struct bpe_symbol *symbols;
    size_t cap, bytes;

    if (n <= s->symbols_cap)
        return true;
    if (!size_mul(n, 2, &cap) || !size_mul(cap, sizeof(*symbols), &bytes) ||
        !(symbols = realloc(s->symbols, bytes)))
        return false;
    s->symbols = symbols;
    s->symbols_cap = cap;
    return true;
}

bool bpe_encode(const struct bpe *b, const char *piece, size_t n, struct bpe_scratch *s,
                struct id_list *ids)
{
    if (b->ignore_merges) { /* a piece that is a token as a whole is that token */
        int32_t id;

        buf_clear(&s->spelling);
        for (size_t i = 0; i < n; i++)
            buf_put_utf8(&s->spelling, byte_to_char((unsigned char)piece[i]));
        if (!buf_ok(&s->spelling))
            return false;
        id = bpe_find(b, buf_str(&s->spelling), s->spelling.len);
        if (id >= 0)
            return id_list_add(ids, id);
    }
    if (!reserve_symbols(s, n))
        return false;
    for (size_t i = 0; i < n; i++)
        s->symbols[i] = (struct bpe_symbol){
            .id = b->byte_id[(unsigned char)piece[i]],
            .prev = (int32_t)i - 1,
            .next = i + 1 < n ? (int32_t)i + 1 : -1,
        };
    s->heap_n = 0;
    for (size_t i = 0; i + 1 < n; i++)
        if (!push_pair(b, s, (int32_t)i))
            return false;
    while (s->heap_n)
        if (!merge_next(b, s))
            return false;
    for (int32_t i = 0; i >= 0; i = s->symbols[i].next)
        if (!id_list_add(ids, s->symbols[i].id))
            return false;
    return true;
}
