/*
 * Inside the tokenizer: vocabulary, merges, added tokens. Everything is built once by
 * tokenizer_open() and only read afterwards, so encoding needs no lock.
 *
 *   tokenizer_json.c   tokenizer.json -> struct tokenizer, with all checks
 *   tokenizer_bpe.c    vocabulary and merge tables; pieces -> ids
 *   tokenizer_added.c  where added tokens ("<|mask|>") stand in a text
 *   tokenizer.c        the doors of tokenizer.h
 */
#ifndef ENGINE_TOKENIZER_IMPL_H
#define ENGINE_TOKENIZER_IMPL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/status.h"

/* Ids end here: tables are indexed by id, so an id must not name its own memory size. The
 * vocabularies of today are below 2^19. */
enum { TOKENIZER_MAX_ID = (1 << 20) - 1 };

/* ---- vocabulary and merges (tokenizer_bpe.c) -------------------------------------------- */

struct token {
    const char *text;  /* as tokenizer.json spells it, NUL-terminated; NULL: no such id */
    const char *bytes; /* what it decodes to; may be text itself */
    uint32_t text_len, n_bytes;
    bool is_special; /* an added token with "special": true */
};

struct merge {
    int32_t left, right, made;
};

struct bpe {
    struct arena arena; /* strings and tables below */

    struct token *tokens; /* (n_tokens) by id */
    size_t n_tokens;
    int32_t *vocab_slots; /* open addressing by text: id + 1, 0 free */
    size_t vocab_mask;

    struct merge *merges; /* (n_merges) by rank */
    size_t n_merges;
    uint32_t *merge_slots; /* open addressing by (left, right): rank + 1, 0 free */
    size_t merge_mask;

    int32_t byte_id[256]; /* id of each byte's one-character token */
    bool ignore_merges;
};

/* Room for ids 0 .. max_id, n_vocab entries and n_merges merges; b is zeroed before. */
MUST_CHECK enum status bpe_init(struct bpe *b, size_t max_id, size_t n_vocab, size_t n_merges,
                                struct error *err);
void bpe_release(struct bpe *b);

/* Give id (whose place is free) a token; in_vocab: BPE can make it. text is copied. */
MUST_CHECK enum status bpe_set_token(struct bpe *b, int32_t id, const char *text, size_t len,
                                     bool in_vocab, struct error *err);

/* Id of a vocabulary entry, or -1. */
int32_t bpe_find(const struct bpe *b, const char *text, size_t len);

/* Append the merge with the next rank; false if (left, right) has one already. */
bool bpe_add_merge(struct bpe *b, int32_t left, int32_t right, int32_t made);

/* Growable list of ids. A zeroed struct is empty. */
struct id_list {
    int32_t *data;
    size_t n, cap;
};
MUST_CHECK bool id_list_add(struct id_list *l, int32_t id); /* false: out of memory */

/* Working memory of one encode call; a zeroed struct is empty. */
struct bpe_scratch {
    struct bpe_symbol *symbols;
    size_t symbols_cap;
    uint64_t *heap;
    size_t heap_n, heap_cap;
    struct buf spelling;
};
void bpe_scratch_release(struct bpe_scratch *s);

/*
 * Ids of one piece (n >= 1 bytes, n < 2^31), appended to ids. The lowest-ranked pair merges
 * first, the leftmost one of equals, until none is left: O(n log n). False: out of memory.
 */
MUST_CHECK bool bpe_encode(const struct bpe *b, const char *piece, size_t n, struct bpe_scratch *s,
                           struct id_list *ids);

/* The 256 printable stand-ins of bytes that byte-level BPE spells tokens with (GPT-2). */
uint32_t byte_to_char(unsigned char byte);
int char_to_byte(uint32_t c); /* -1: not one of them */

/* ---- added tokens (tokenizer_added.c) --------------------------------------------------- */

struct added_token {
    const char *content;
    size_t len; /* >= 1 */
    int32_t id;
    bool single_word, lstrip, rstrip;
};

/* A set of tokens to look for, as a trie over bytes. Zeroed: empty. */
struct added_set {
    struct added_token *tokens;
    size_t n_tokens, tokens_cap;
    struct trie_node *nodes; /* [0] is the root */
    size_t n_nodes, nodes_cap;
    uint32_t root[256]; /* children of the root */
};
void added_set_release(struct added_set *a);

/* Add a token, whose content must outlive the set and be no other token's. False: out of memory. */
MUST_CHECK bool added_set_add(struct added_set *a, const struct added_token *token);

/*
 * Walk over a text: each call yields the plain text up to the next added token, and the token.
 * Matches are leftmost-longest. Cost: O(len * longest content) for the whole text.
 */
struct added_scan {
    const struct added_set *set;
    const char *text;
    size_t len;
    size_t search;                 /* where the next match is looked for */
    size_t plain;                  /* end of what was handed out */
    size_t space_start, space_end; /* a run of white space seen, so none is walked twice */
    bool is_done;
};
struct added_span {
    size_t start, end; /* plain text, maybe empty */
    int32_t id;        /* token behind it; -1: the text ends here */
};
void added_scan_init(struct added_scan *s, const struct added_set *set, const char *text,
                     size_t len);
bool added_scan_next(struct added_scan *s, struct added_span *ret); /* false: no more */

/* ---- all together ----------------------------------------------------------------------- */

struct tokenizer {
    struct bpe bpe;
    struct added_set raw;        /* "normalized": false, looked for before normalization */
    struct added_set normalized; /* looked for after it */
    struct added_name {
        const char *content;
        int32_t id;
    } * names; /* (n_names) sorted by content */
    size_t n_names;
    bool is_nfc;
    int32_t max_id;
    char sha256[SHA256_HEX_SIZE];
};

/* Fill t (zeroed) from the bytes of the file `path`; on failure the caller releases t. */
MUST_CHECK enum status tokenizer_parse(struct tokenizer *t, const char *path, const char *data,
                                       size_t len, struct error *err);

#endif
