/*
 * The table's experts: loading, and the op `moe` with activations in f32.
 *
 * bf16 experts are packed (pack.h) and multiplied by tensor cores beside rounded activations
 * (moe.h). Experts of other types are kept as rows of f32 and multiplied as such (moe_plain.h).
 */
#include <stdlib.h>

#include "base/size.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/gemm.h"
#include "kernels/cuda/made.h"
#include "kernels/cuda/moe.h"
#include "kernels/cuda/moe_plain.h"
#include "kernels/cuda/pack.cuh"
#include "kernels/dtype.h"

enum {
    CHUNK_TOKENS = 2048, /* of one launch: what the results of pairs take is bounded */
    ALIGN = 256,
};

static size_t aligned(size_t bytes)
{
    return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

/* ---- loading ------------------------------------------------------------------------------ */

static size_t count_experts(const struct experts *e)
{
    return (size_t)e->n_exp + (size_t)e->n_shared;
}

/* Memory of all experts of each bytes, and n_more for other use, in e->dev. */
static enum status take_memory(struct cuda *c, struct experts *e, size_t each, size_t n_more,
                               struct error *err)
{
    size_t bytes;

    if (!size_mul(each, count_experts(e), &bytes) || bytes > SIZE_MAX - n_more)
        return error_set(err, ST_NOMEM,
                         "%zu experts of %lld times %lld do not fit an address space",
                         count_experts(e), (long long)e->d_ff, (long long)e->d_model);
    return cuda_malloc(c, bytes + n_more, &e->dev, err);
}

/* Matrices of experts: in host memory, or made up. */
struct source {
    const struct host_matrix *host;
    const struct made_matrix *made;
};

/* Rows of number i, n bf16. */
static enum status put_rows(struct cuda *c, const struct source *from, size_t i, size_t n,
                            uint16_t *dev, struct error *err)
{
    if (from->host)
        return cuda_send(c, dev, from->host[i].data, n * sizeof(*dev), err);
    CUDA_TRY(c, made_launch(&from->made[i], dev, c->stream), err);
    return ST_OK;
}

static enum status load_packed(struct cuda *c, struct experts *e, const struct source *gate,
                               const struct source *up, const struct source *down,
                               struct error *err)
{
    const size_t n = (size_t)e->d_ff * (size_t)e->d_model, n_exp = count_experts(e);
    const size_t gate_up = (size_t)pack_elems(pack_pair_rows(e->d_ff), e->d_model);
    const size_t n_down = (size_t)pack_elems(e->d_model, e->d_ff);
    const size_t n_up = (n + 7) / 8 * 8; /* of gate, to where up is aligned */
    const size_t ready =
        moe_ready_words(cuda_experts_run(c, e, MOE_FEW_TOKENS).n_exp, (int)e->d_model) *
        sizeof(uint32_t);
    uint16_t *dev, *rows;
    void *scratch = NULL;
    enum status st = take_memory(c, e, (gate_up + n_down) * sizeof(*dev), ready, err);

    if (!st)
        st = cuda_scratch_take(c, 2 * n_up * sizeof(*rows), &scratch, err);
    if (st)
        return st;
    dev = e->dev;
    rows = scratch;
    e->packed.gate_up = dev;
    e->packed.down = dev + gate_up * n_exp;
    e->dev_ready = (uint32_t *)(dev + (gate_up + n_down) * n_exp);
    CUDA_TRY(c, cudaMemsetAsync(e->dev_ready, 0, ready, c->stream), err);
    for (size_t i = 0; i < n_exp; i++) {
        st = put_rows(c, gate, i, n, rows, err);
        if (!st)
            st = put_rows(c, up, i, n, rows + n_up, err);
        if (st)
            return st;
        CUDA_TRY(
            c,
            pack_pair_launch(rows, rows + n_up, e->d_ff, e->d_model, dev + gate_up * i, c->stream),
            err);
        st = put_rows(c, down, i, n, rows, err);
        if (st)
            return st;
        CUDA_TRY(c,
                 pack_rows_launch(rows, 0, e->d_model, e->d_ff, dev + gate_up * n_exp + n_down * i,
                                  c->stream),
                 err);
    }
    return ST_OK;
}

static enum status load_plain(struct cuda *c, struct experts *e, const struct host_matrix *gate,
                              const struct host_matrix *up, const struct host_matrix *down,
                              struct error *err)
{
    const size_t n = (size_t)e->d_ff * (size_t)e->d_model;
    float *rows = malloc(n * sizeof(*rows));
    enum status st;

    if (!rows)
        return error_set(err, ST_NOMEM, "out of memory loading an expert of %zu bytes", n * 4);
    st = take_memory(c, e, 3 * n * sizeof(*rows), 0, err);
    for (size_t i = 0; !st && i < 3 * count_experts(e); i++) {
        const struct host_matrix *m = (i % 3 == 0 ? gate : i % 3 == 1 ? up : down) + i / 3;

        dtype_to_f32(m->data, m->dtype, n, rows);
        st = cuda_send(c, (float *)e->dev + i * n, rows, n * sizeof(*rows), err);
    }
    free(rows);
    return st;
}

static struct experts *new_experts(int n_exp, int n_shared, int64_t d_ff, int64_t d_model,
                                   enum dtype t, struct error *err)
{
    struct experts *e = calloc(1, sizeof(*e));

    if (!e) {
        (void)error_set(err, ST_NOMEM, "out of memory keeping experts");
        return NULL;
    }
    e->n_exp = n_exp;
    e->n_shared = n_shared;
    e->d_ff = d_ff;
    e->d_model = d_model;
    e->dtype = t;
    e->packed = (struct moe_weights){ .n_exp = n_exp + n_shared,
                                      .d_model = (int)d_model,
                                      .d_ff = (int)d_ff };
    return e;
}

/* Hand them over, unless loading them failed. */
static enum status keep(struct cuda *c, struct experts *e, enum status st, struct experts **ret)
{
    if (st) {
        (void)cudaFree(e->dev); /* waits for what was under way */
        free(e);
        return st;
    }
    e->next = c->experts;
    c->experts = e;
    *ret = e;
    return ST_OK;
}

enum status cuda_experts_load(struct kernels *k, int n_exp, int n_shared,
                              const struct host_matrix *gate, const struct host_matrix *up,
                              const struct host_matrix *down, struct experts **ret,
                              struct error *err)
{
    const struct source from[3] = { { gate, NULL }, { up, NULL }, { down, NULL } };
    struct cuda *c = (struct cuda *)k;
    struct experts *e = new_experts(n_exp, n_shared, gate->rows, gate->cols, gate->dtype, err);

    if (!e)
        return ST_NOMEM;
    return keep(c, e,
                e->dtype == DT_BF16 ? load_packed(c, e, &from[0], &from[1], &from[2], err)
                                    : load_plain(c, e, gate, up, down, err),
                ret);
}

enum status cuda_experts_make(struct kernels *k, int n_exp, int n_shared,
                              const struct made_matrix *gate, const struct made_matrix *up,
                              const struct made_matrix *down, struct experts **ret,
                              struct error *err)
{
    const struct source from[3] = { { NULL, gate }, { NULL, up }, { NULL, down } };
    struct cuda *c = (struct cuda *)k;
    struct experts *e = new_experts(n_exp, n_shared, gate->rows, gate->cols, DT_BF16, err);

    return e ? keep(c, e, load_packed(c, e, &from[0], &from[1], &from[2], err), ret) : ST_NOMEM;
}

/* ---- the op ------------------------------------------------------------------------------- */

struct moe_weights cuda_experts_run(const struct cuda *c, const struct experts *e, int n_tok)
{
    const bool is_dense = e->n_exp == 0 && e->n_shared == 1 && e->dtype == DT_BF16;

    return is_dense && (n_tok <= MOE_FEW_TOKENS || !c->is_fast) ? moe_cut(&e->packed) : e->packed;
}

/* Device memory that a launch takes: its list, x rounded, and working space. */
struct launch_room {
    size_t list, x, work;
};

static struct launch_room measure(const struct cuda *c, const struct experts *e, int n_tok,
                                  int top_k)
{
    const struct moe_weights w = cuda_experts_run(c, e, n_tok);
    const int n_slots = top_k + w.n_exp - e->n_exp;
    const size_t n_pairs = (size_t)n_tok * (size_t)n_slots;
    struct launch_room ret = { .list = aligned(worklist_bytes(n_tok, n_slots, w.n_exp)) };

    if (e->dtype == DT_BF16) {
        ret.x = aligned((size_t)n_tok * (size_t)pack_row_elems(e->d_model) * 2);
        ret.work = moe_work_place(NULL, n_tok, n_slots, &w, NULL);
    } else {
        ret.work = n_pairs * (size_t)pack_row_elems(e->d_ff) * sizeof(float);
    }
    return ret;
}

static size_t room_bytes(const struct cuda *c, const struct experts *e, int n_tok, int top_k)
{
    const struct launch_room r = measure(c, e, n_tok, top_k);

    return r.list + r.x + r.work;
}

enum status cuda_moe(struct kernels *k, const float *x, const struct experts *e, const int32_t *ids,
                     const float *w, int n_tok, int top_k, float *ret_y, struct error *err)
{
    struct cuda *c = (struct cuda *)k;
    const int chunk = n_tok < CHUNK_TOKENS ? n_tok : CHUNK_TOKENS;
    const size_t of_chunk = room_bytes(c, e, chunk, top_k), d_model = (size_t)e->d_model;
    const size_t of_last = room_bytes(c, e, n_tok % CHUNK_TOKENS, top_k);
    void *scratch = NULL;
    enum status st = cuda_scratch_take(c, of_chunk > of_last ? of_chunk : of_last, &scratch, err);
    char *at = scratch;

    if (st || n_tok == 0)
        return st;
    for (int t = 0; t < n_tok; t += chunk) {
        const int n = n_tok - t < chunk ? n_tok - t : chunk;
        const struct launch_room room = measure(c, e, n, top_k);
        struct moe_args a = { .weights = cuda_experts_run(c, e, n),
                              .n_tok = n,
                              .is_fast = c->is_fast,
                              .y = ret_y + (size_t)t * d_model };
        const int n_shared = a.weights.n_exp - e->n_exp;
        const size_t slot = (size_t)t * (size_t)top_k;
        const float *from = x + (size_t)t * d_model;

        a.top_k = top_k + n_shared;
        a.list = worklist_place(at, n, a.top_k, a.weights.n_exp);
        CUDA_TRY(c,
                 worklist_launch(top_k ? ids + slot : NULL, top_k ? w + slot : NULL, NULL, n, top_k,
                                 e->n_exp, n_shared, a.list, NULL, c->stream),
                 err);
        if (e->dtype != DT_BF16) {
            CUDA_TRY(c,
                     moe_plain_launch(from, e->dev, (int)e->d_model, (int)e->d_ff, &a.list, n,
                                      a.top_k, (float *)(at + room.list), a.y, c->stream),
                     err);
            continue;
        }
        a.x = (uint16_t *)(at + room.list);
        (void)moe_work_place(at + room.list + room.x, n, a.top_k, &a.weights, &a.work);
        a.work.ready = e->dev_ready;
        CUDA_TRY(c, gemm_round(from, n, (int)d_model, (uint16_t *)a.x, c->stream), err);
        CUDA_TRY(c, moe_launch(&a, false, c->stream), err);
    }
    return ST_OK;
}
