/* Trace files: what is written is read back, and what was not written by the writer is refused. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/rng.h"
#include "harness/trace_file.h"
#include "tests/base/fail_malloc.h"
#include "tests/engine/temp_dir.h"

enum { N_LAYER = 2, N_EXP = 11, N_TOK = 3, TOP_K = 2, N_FORWARD = 2 };

static struct temp_dir dir;
static char path[128];

static void set_up(void)
{
    temp_dir_init(&dir);
    temp_dir_path(&dir, "t.trace", path, sizeof(path));
}

static void tear_down(void)
{
    temp_dir_release(&dir);
}

TestSuite(trace_file, .init = set_up, .fini = tear_down);

/* Score of an expert: sixteenths, so that there are ties. */
static float score(int forward, int layer, int tok, int e)
{
    uint64_t x = (uint64_t)(((forward * N_LAYER + layer) * N_TOK + tok) * N_EXP + e);

    return (float)(splitmix64(&x) % 16) / 16.0F;
}

static struct trace_header a_header(int n_top)
{
    return (struct trace_header){
        .about = { .model = "a \"model\"", .selector = "vanilla", .task = "t" },
        .n_layer = N_LAYER,
        .n_exp = N_EXP,
        .top_k = TOP_K,
        .scale = 2.5F,
        .is_renormed = true,
        .n_top = n_top,
        .mask_id = 7,
        .has_executed = true
    };
}

static enum status write_trace(const struct trace_header *h, struct error *err)
{
    static const int32_t ids[] = { 5, 7, 7 }, positions[] = { 0, 2, 3 };
    const struct trace_sequence s = { .item = "task/1",
                                      .item_len = 6,
                                      .seed = 0x123456789abcdef0,
                                      .n_prompt = 2,
                                      .n_gen = 2,
                                      .block_length = 1 };
    struct trace_writer *w = NULL;
    enum status st = trace_create(path, h, &w, err);

    if (!st)
        st = trace_put_sequence(w, &s, err);
    for (int f = 0; f < N_FORWARD && !st; f++) {
        const struct trace_forward forward = { .block = f,
                                               .step = 0,
                                               .is_cache_refresh = f <= 1,
                                               .is_merged = f == 1,
                                               .n_tok = N_TOK,
                                               .ids = ids,
                                               .positions = positions };
        float scores[N_TOK * N_EXP], importance[N_TOK] = { 1, 2, 0.5F };
        uint8_t executed[2] = { 0x81, (uint8_t)f };

        st = trace_put_forward(w, &forward, err);
        for (int l = 0; l < N_LAYER && !st; l++) {
            for (int i = 0; i < N_TOK * N_EXP; i++)
                scores[i] = score(f, l, i / N_EXP, i % N_EXP);
            st = trace_put_layer(w,
                                 &(struct trace_layer){ scores,
                                                        h->has_importance ? importance : NULL,
                                                        h->has_executed ? executed : NULL },
                                 err);
        }
    }
    if (!st)
        st = trace_finish(w, err);
    trace_writer_free(w);
    return st;
}

static void written(const struct trace_header *h)
{
    struct error err = { 0 };

    cr_assert_eq(write_trace(h, &err), ST_OK, "%s", err.text);
}

static struct trace_reader *opened(void)
{
    struct error err = { 0 };
    struct trace_reader *r = NULL;

    cr_assert_eq(trace_open(path, &r, &err), ST_OK, "%s", err.text);
    return r;
}

/* Order of two experts of a token: larger score first, then the lower id. */
static bool is_before(const float *s, int a, int b)
{
    return s[a] > s[b] || (s[a] == s[b] && a < b);
}

static void check_top(const float *got, int f, int l, int t, int n_top)
{
    float s[N_EXP], sum = 0, sum_got = 0;

    for (int e = 0; e < N_EXP; e++) {
        s[e] = score(f, l, t, e);
        sum += s[e];
        sum_got += got[e];
    }
    for (int e = 0; e < N_EXP; e++) {
        int rank = 0, rank_got = 0;

        for (int o = 0; o < N_EXP; o++) {
            rank += o != e && is_before(s, o, e);
            rank_got += o != e && is_before(got, o, e);
        }
        if (rank < n_top) {
            cr_assert_eq(got[e], s[e]);
            cr_assert_eq(rank_got, rank);
        }
    }
    cr_assert(fabsf(sum - sum_got) < 1e-5F, "%g for %g", (double)sum_got, (double)sum);
}

static void check_trace(struct trace_reader *r, int n_top)
{
    struct error err = { 0 };
    enum trace_record kind;
    struct trace_sequence s;
    struct trace_forward f;
    struct trace_layer l;

    cr_assert_eq(trace_n_forwards(r), N_FORWARD);
    cr_assert_eq(trace_next(r, &kind, &s, &f, &err), ST_OK, "%s", err.text);
    cr_assert_eq(kind, TRACE_SEQUENCE);
    cr_assert(s.item_len == 6 && memcmp(s.item, "task/1", 6) == 0);
    cr_assert(s.seed == 0x123456789abcdef0 && s.n_prompt == 2 && s.n_gen == 2);
    for (int i = 0; i < N_FORWARD; i++) {
        cr_assert_eq(trace_next(r, &kind, &s, &f, &err), ST_OK, "%s", err.text);
        cr_assert_eq(kind, TRACE_FORWARD);
        cr_assert(f.block == i && f.step == 0 && f.is_cache_refresh == (i <= 1) &&
                  f.is_merged == (i == 1));
        cr_assert(f.n_tok == N_TOK && f.ids[0] == 5 && f.ids[2] == 7 && f.positions[2] == 3);
        for (int n = N_LAYER - 1; n >= 0; n--) { /* in any order */
            cr_assert_eq(trace_read_layer(r, n, &l, &err), ST_OK, "%s", err.text);
            cr_assert(l.executed[0] == 0x81 && l.executed[1] == i);
            for (int t = 0; t < N_TOK; t++) {
                if (n_top < N_EXP)
                    check_top(l.scores + t * N_EXP, i, n, t, n_top);
                for (int e = 0; n_top == N_EXP && e < N_EXP; e++)
                    cr_assert_eq(l.scores[t * N_EXP + e], score(i, n, t, e));
            }
        }
    }
    for (int i = 0; i < 2; i++) { /* it stays at the end */
        cr_assert_eq(trace_next(r, &kind, &s, &f, &err), ST_OK, "%s", err.text);
        cr_assert_eq(kind, TRACE_END);
    }
    cr_assert_eq(trace_read_layer(r, 0, &l, &err), ST_INTERNAL);
}

Test(trace_file, complete_scores_come_back_as_they_were)
{
    struct trace_header h = a_header(N_EXP);
    struct trace_reader *r;

    written(&h);
    r = opened();
    cr_assert_str_eq(trace_get_header(r)->about.model, "a \"model\"");
    cr_assert_str_eq(trace_get_header(r)->about.task, "t");
    cr_assert_null(trace_get_header(r)->about.cache);
    cr_assert_eq(trace_get_header(r)->scale, 2.5F);
    cr_assert(trace_get_header(r)->is_renormed && !trace_get_header(r)->is_sigmoid);
    cr_assert_eq(trace_get_header(r)->mask_id, 7);
    check_trace(r, N_EXP);
    trace_rewind(r);
    check_trace(r, N_EXP);
    trace_close(r);
}

Test(trace_file, of_the_largest_scores_order_and_sum_come_back)
{
    for (int n_top = TOP_K; n_top < N_EXP; n_top++) {
        struct trace_header h = a_header(n_top);
        struct trace_reader *r;

        written(&h);
        r = opened();
        check_trace(r, n_top);
        trace_close(r);
    }
}

Test(trace_file, selection_bias_and_importance_come_back)
{
    struct trace_header h = a_header(N_EXP);
    struct trace_reader *r;
    struct error err = { 0 };
    float bias[N_LAYER * N_EXP];
    enum trace_record kind;
    struct trace_sequence s;
    struct trace_forward f;
    struct trace_layer l;

    for (int i = 0; i < N_LAYER * N_EXP; i++)
        bias[i] = (float)i - 3.5F;
    h.bias = bias;
    h.has_importance = true;
    h.has_executed = false;
    h.is_sigmoid = true;
    written(&h);
    r = opened();
    cr_assert_eq(memcmp(trace_get_header(r)->bias, bias, sizeof(bias)), 0);
    cr_assert(trace_get_header(r)->is_sigmoid);
    cr_assert_eq(trace_next(r, &kind, &s, &f, &err), ST_OK);
    cr_assert_eq(trace_next(r, &kind, &s, &f, &err), ST_OK);
    cr_assert_eq(trace_read_layer(r, 1, &l, &err), ST_OK, "%s", err.text);
    cr_assert_null(l.executed);
    cr_assert(l.importance[0] == 1 && l.importance[2] == 0.5F);
    trace_close(r);
}

/* The file as bytes, to be spoilt. */
static struct buf bytes_of(int n_top)
{
    struct trace_header h = a_header(n_top);
    struct error err = { 0 };
    struct buf b = { 0 };

    written(&h);
    cr_assert_eq(file_read(path, 1 << 20, &b, &err), ST_OK, "%s", err.text);
    return b;
}

Test(trace_file, a_file_cut_anywhere_is_refused)
{
    struct buf b = bytes_of(N_EXP);

    for (size_t len = 0; len < b.len; len++) {
        struct trace_reader *r = NULL;
        struct error err = { 0 };

        cr_assert_eq(trace_open_memory(b.data, len, "x", &r, &err), ST_INVALID);
        cr_assert(err.text[0]);
    }
    buf_release(&b);
}

Test(trace_file, a_byte_changed_anywhere_is_noticed)
{
    struct buf b = bytes_of(4);

    for (size_t i = 0; i < b.len; i++) {
        struct trace_reader *r = NULL;
        struct error err = { 0 };

        b.data[i] ^= 1;
        cr_assert_neq(trace_open_memory(b.data, b.len, "x", &r, &err), ST_OK, "byte %zu", i);
        b.data[i] ^= 1;
    }
    buf_release(&b);
}

/* The hash over again, as one who wants to be believed writes it. */
static void rehash(struct buf *b)
{
    char hex[SHA256_HEX_SIZE];
    struct error err = { 0 };

    cr_assert_eq(sha256_hex(b->data, b->len - 64, hex, &err), ST_OK);
    memcpy(b->data + b->len - 64, hex, 64);
}

static enum status read_spoilt(const struct buf *b, struct error *err)
{
    struct trace_reader *r = NULL;
    enum trace_record kind = TRACE_SEQUENCE;
    struct trace_sequence s;
    struct trace_forward f;
    struct trace_layer l;
    enum status st = trace_open_memory(b->data, b->len, "x", &r, err);

    while (!st && kind != TRACE_END) {
        st = trace_next(r, &kind, &s, &f, err);
        for (int i = 0; !st && kind == TRACE_FORWARD && i < trace_get_header(r)->n_layer; i++)
            st = trace_read_layer(r, i, &l, err);
    }
    trace_close(r);
    return st;
}

Test(trace_file, fields_out_of_bounds_are_named)
{
    static const struct {
        size_t at;
        uint32_t value;
        const char *message;
    } cases[] = {
        { 8, 2, "version 2" },
        { 12, 1 << 7, "unknown flags 0x80" },
        { 16, 0, "n_layer 0" },
        { 16, 5000, "n_layer 5000" },
        { 20, 1025, "n_exp 1025" },
        { 24, 12, "top_k 12" },
        { 28, 3, "topk_group 0" },
        { 32, 1, "topk_group 1" },
        { 36, 1, "n_top 1" },
        { 36, 12, "n_top 12" },
        { 40, 0x7fc00000, "scale nan" },
        { 40, 0x80000000, "scale -0" },
        { 44, 0xfffffffe, "token -2" },
        { 48, 1 << 20, "description of 1048576 bytes" },
        { 52, 1, "byte 52" },
        { 64, 0, "x" },
    };
    struct buf b = bytes_of(N_EXP);

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct error err = { 0 };
        char kept[4];

        memcpy(kept, b.data + cases[i].at, 4);
        memcpy(b.data + cases[i].at, &cases[i].value, 4);
        rehash(&b);
        cr_assert_neq(read_spoilt(&b, &err), ST_OK, "%s", cases[i].message);
        cr_assert(strstr(err.text, cases[i].message), "'%s' has no '%s'", err.text,
                  cases[i].message);
        memcpy(b.data + cases[i].at, kept, 4);
    }
    buf_release(&b);
}

Test(trace_file, whatever_a_word_is_changed_to_is_read_or_refused)
{
    static const uint32_t values[] = { 0, 1, 0x7fffffff, 0x80000000, 0xffffffff, 0x7f800000, 1000 };
    struct buf b = bytes_of(4);
    int n_refused = 0;

    for (size_t at = 8; at + 64 + 4 <= b.len; at++)
        for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
            struct error err = { 0 };
            char kept[4];
            enum status st;

            memcpy(kept, b.data + at, 4);
            memcpy(b.data + at, &values[i], 4);
            rehash(&b);
            st = read_spoilt(&b, &err);
            cr_assert(st == ST_OK || st == ST_INVALID || st == ST_UNSUPPORTED, "byte %zu: %s", at,
                      err.text);
            n_refused += st != ST_OK;
            memcpy(b.data + at, kept, 4);
        }
    cr_assert_gt(n_refused, 500);
    buf_release(&b);
}

Test(trace_file, an_unfinished_trace_leaves_no_file)
{
    struct trace_header h = a_header(N_EXP);
    struct trace_writer *w = NULL;
    struct error err = { 0 };

    cr_assert_eq(trace_create(path, &h, &w, &err), ST_OK, "%s", err.text);
    trace_writer_free(w);
    cr_assert_not(file_exists(path));
    cr_assert_eq(rmdir(dir.path), 0, "something is left");
    temp_dir_init(&dir);
}

Test(trace_file, scores_that_are_not_finite_are_not_written)
{
    static const float bad[] = { NAN, INFINITY, -INFINITY, -0.5F };
    static const int32_t ids[] = { 1 }, positions[] = { 0 };
    const struct trace_forward f = { .n_tok = 1, .ids = ids, .positions = positions };
    const struct trace_sequence s = { .item = "", .n_prompt = 1 };
    struct trace_header h = a_header(N_EXP);
    uint8_t executed[2] = { 0 };
    float scores[N_EXP] = { 0 };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct trace_writer *w = NULL;
        struct error err = { 0 };

        cr_assert_eq(trace_create(path, &h, &w, &err), ST_OK);
        cr_assert_eq(trace_put_sequence(w, &s, &err), ST_OK);
        cr_assert_eq(trace_put_forward(w, &f, &err), ST_OK);
        scores[3] = bad[i];
        cr_assert_eq(trace_put_layer(w, &(struct trace_layer){ scores, NULL, executed }, &err),
                     ST_INVALID);
        cr_assert(strstr(err.text, "expert 3"), "%s", err.text);
        trace_writer_free(w);
    }
}

Test(trace_file, sizes_that_the_format_does_not_hold_are_refused)
{
    struct trace_writer *w = NULL;
    struct trace_header h = a_header(TOP_K - 1);
    float bias[N_LAYER * N_EXP] = { 0 };
    struct error err = { 0 };

    cr_assert_eq(trace_create(path, &h, &w, &err), ST_INVALID);
    h = a_header(4);
    h.bias = bias;
    cr_assert_eq(trace_create(path, &h, &w, &err), ST_INVALID);
    h = a_header(N_EXP);
    h.n_layer = 0;
    cr_assert_eq(trace_create(path, &h, &w, &err), ST_INVALID);
}

static enum status try_write(void *arg, struct error *err)
{
    return write_trace(arg, err);
}

static enum status try_read(void *arg, struct error *err)
{
    struct trace_reader *r = NULL;
    enum trace_record kind = TRACE_SEQUENCE;
    struct trace_sequence s;
    struct trace_forward f;
    struct trace_layer l;
    enum status st = trace_open(path, &r, err);

    (void)arg;
    while (!st && kind != TRACE_END) {
        st = trace_next(r, &kind, &s, &f, err);
        if (!st && kind == TRACE_FORWARD)
            st = trace_read_layer(r, 0, &l, err);
    }
    trace_close(r);
    return st;
}

Test(trace_file, without_memory_nothing_is_lost_or_left)
{
    struct trace_header h = a_header(4);
    struct fail_sweep writing = { .what = "write", .f = try_write, .arg = &h };
    struct fail_sweep reading = { .what = "read", .f = try_read };

    cr_expect_gt(fail_malloc_sweep(&writing), 4);
    written(&h);
    cr_expect_gt(fail_malloc_sweep(&reading), 4);
}
