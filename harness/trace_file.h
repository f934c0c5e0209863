/*
 * Trace files: what the routers of a model said, per forward pass, layer and token. The format is
 * described byte by byte in docs/traces.md and, in short, here.
 *
 *   header            64 bytes: magic, version, sizes, how the model routes
 *   description       a JSON object of strings: model, selector, ...
 *   selection bias    (n_layer, n_exp) f32, if the header says so
 *   records           SEQ: a sequence begins; FWD: a forward pass of it, with all its layers
 *   END               number of forwards, SHA-256 of every byte before it
 *
 * A trace is complete, every score as it was, or holds the n_top largest scores of each token and
 * the sum of the others (its tail). Layers are those with routed experts, counted from 0.
 */
#ifndef HARNESS_TRACE_FILE_H
#define HARNESS_TRACE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum {
    TRACE_MAX_LAYERS = 4096,
    TRACE_MAX_EXPERTS = 1024,
    TRACE_MAX_TOP_K = 64,
    TRACE_MAX_TOKENS = 1 << 20, /* of a sequence */
    TRACE_MAX_TEXT = 1 << 16,   /* bytes of the description */
    TRACE_MAX_ITEM = 4096,      /* bytes of an item's id */
};

/* Members of the description, each a string; absent ones are NULL. */
struct trace_about {
    const char *model;          /* always there */
    const char *selector;       /* that the model ran under; always there */
    const char *writer;         /* program and version */
    const char *weights_sha256; /* of its checkpoint */
    const char *task, *decoder, *cache, *backend;
};

struct trace_header {
    struct trace_about about;
    int n_layer, n_exp, top_k;
    bool is_sigmoid;         /* scores are sigmoids, else probabilities over all experts */
    bool is_renormed;        /* chosen scores are divided by their sum */
    float scale;             /* multiplies weights after that */
    int n_group, topk_group; /* 0: no groups */
    int n_top;               /* scores kept of each token; n_exp: complete */
    int32_t mask_id;         /* -1: no mask token */
    const float *bias;       /* (n_layer, n_exp) added to scores for choosing; NULL: none */
    bool has_importance;     /* each token's L1 norm of the router's input is there */
    bool has_executed;       /* the experts that ran are there */
};

struct trace_sequence {
    const char *item; /* its name, such as "gsm8k/17": item_len bytes, any */
    size_t item_len;
    uint64_t seed;       /* of the sequence: control `random` draws from it */
    int n_prompt, n_gen; /* canvas positions before the first block, then those of blocks: the
                          * prompt's and those denoised, but for a prompt's tail in that block */
    int block_length;    /* of the latter; 0 where there are none */
};

struct trace_forward {
    int block, step;          /* as in struct forward_record */
    bool is_cache_refresh;    /* likewise */
    bool is_merged;           /* likewise; a refresh alone may be */
    int n_tok;                /* >= 1 */
    const int32_t *ids;       /* (n_tok) as they went in: masks are mask_id */
    const int32_t *positions; /* (n_tok) canvas positions, ascending */
};

/* One layer of a forward. */
struct trace_layer {
    const float *scores;     /* (n_tok, n_exp); see trace_read_layer() for those not kept */
    const float *importance; /* (n_tok), or NULL */
    const uint8_t *executed; /* (trace_executed_bytes()) bit e % 8 of byte e / 8: expert e ran; or
                              * NULL */
};

static inline size_t trace_executed_bytes(int n_exp)
{
    return ((size_t)n_exp + 7) / 8;
}

/* ---- writing ---------------------------------------------------------------------------- */

struct trace_writer;

/*
 * Begin a file under a temporary name beside path. The header's description, bias and all else
 * are written at once. Of the calls that follow: for each sequence trace_put_sequence(), then for
 * each of its forwards trace_put_forward() and n_layer times trace_put_layer(), in order; at last
 * trace_finish(), which puts the file in its place. trace_writer_free() without it removes what
 * was written. ST_INVALID: sizes that the format does not hold; ST_IO; ST_NOMEM.
 */
MUST_CHECK enum status trace_create(const char *path, const struct trace_header *h,
                                    struct trace_writer **ret, struct error *err);
MUST_CHECK enum status trace_put_sequence(struct trace_writer *w, const struct trace_sequence *s,
                                          struct error *err);
MUST_CHECK enum status trace_put_forward(struct trace_writer *w, const struct trace_forward *f,
                                         struct error *err);
MUST_CHECK enum status trace_put_layer(struct trace_writer *w, const struct trace_layer *l,
                                       struct error *err);
MUST_CHECK enum status trace_finish(struct trace_writer *w, struct error *err);
void trace_writer_free(struct trace_writer *w); /* accepts NULL */

/* Bytes written so far. */
uint64_t trace_bytes(const struct trace_writer *w);

/* ---- reading ---------------------------------------------------------------------------- */

struct trace_reader;

/* Map a file, check its hash, read its header. ST_NOT_FOUND, ST_IO, ST_NOMEM; ST_INVALID names the
 * file, the byte and the field; ST_UNSUPPORTED: a later version. */
MUST_CHECK enum status trace_open(const char *path, struct trace_reader **ret, struct error *err);

/* The same of len bytes in memory, borrowed until trace_close(); name is for messages. */
MUST_CHECK enum status trace_open_memory(const void *data, size_t len, const char *name,
                                         struct trace_reader **ret, struct error *err);
void trace_close(struct trace_reader *r); /* accepts NULL */

/* Valid until trace_close(). */
const struct trace_header *trace_get_header(const struct trace_reader *r);
uint64_t trace_n_forwards(const struct trace_reader *r);

enum trace_record { TRACE_SEQUENCE, TRACE_FORWARD, TRACE_END };

/* Go to the next record: *ret_kind says which of the others is filled in. What they point to is
 * valid until the next call. At the end it stays there. ST_INVALID, ST_NOMEM. */
MUST_CHECK enum status trace_next(struct trace_reader *r, enum trace_record *ret_kind,
                                  struct trace_sequence *ret_sequence,
                                  struct trace_forward *ret_forward, struct error *err);

/*
 * A layer of the forward that trace_next() came to; valid until the next call of either. Scores are
 * finite and not negative. Where only the largest are kept, each of the others is put down as an
 * equal share of the tail, but below the least that is kept: the order of those kept, and up to
 * rounding the sum of all, are right.
 */
MUST_CHECK enum status trace_read_layer(struct trace_reader *r, int layer, struct trace_layer *ret,
                                        struct error *err);

/* Back to the first record. */
void trace_rewind(struct trace_reader *r);

#endif
