/* What a model takes of a GPU's memory besides weights, caches and workspace, and what there is. */
#include "base/size.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/forward_impl.h"
#include "kernels/cuda/gemm.h"
#include "kernels/cuda/gemm_fast.h"
#include "kernels/cuda/pack.h"
#include "kernels/cuda/router.h"

/* Code, graphs and small buffers: a round figure above what was seen. */
static const size_t reserve_bytes = (size_t)256 << 20;

/* Products of sizes from outside, added up; fits tells whether that was possible. */
struct sum {
    size_t bytes;
    bool fits;
};

static void add(struct sum *s, size_t a, size_t b, size_t c)
{
    size_t n = 0;

    s->fits =
        s->fits && size_mul(a, b, &n) && size_mul(n, c, &n) && size_add(s->bytes, n, &s->bytes);
}

/* What padding adds to a packed matrix. */
static size_t padding(int64_t rows, int64_t cols)
{
    return (size_t)(pack_elems(rows, cols) - rows * cols) * sizeof(uint16_t);
}

static size_t expert_padding(int64_t d_model, int64_t d_ff)
{
    return (size_t)(pack_elems(pack_pair_rows(d_ff), d_model) - 2 * d_ff * d_model) *
               sizeof(uint16_t) +
           padding(d_model, d_ff);
}

/* What whole tiles add to the weights, and routers' second form. */
static void add_padding(struct sum *s, const struct kernel_sizes *m)
{
    const size_t n_layer = (size_t)m->n_layer;
    const int64_t q = (int64_t)m->n_head * m->d_head, kv = (int64_t)m->n_kv_head * m->d_head;
    const int n_exp = m->n_exp < KERNEL_MAX_EXPERTS ? m->n_exp : KERNEL_MAX_EXPERTS;

    add(s, n_layer, padding(q, m->d_model) + 2 * padding(kv, m->d_model) + padding(m->d_model, q),
        1);
    add(s, n_layer - (size_t)m->n_dense_layer, (size_t)m->n_exp + (size_t)m->n_shared,
        expert_padding(m->d_model, m->d_ff));
    add(s, n_layer - (size_t)m->n_dense_layer, router_pack_bytes(n_exp, m->d_model), 1);
    add(s, (size_t)m->n_dense_layer, 1, expert_padding(m->d_model, m->d_ff_dense));
    add(s, 1, 1, padding(m->n_vocab, m->d_model));
}

/* What a launch of n_exp experts for n_tok tokens of n_slots each works in. */
static struct sum measure_experts(size_t n_tok, size_t n_slots, size_t n_exp, int d_model, int d_ff)
{
    enum { UNIT_PAIRS = 128 }; /* of one launch of the experts, at most */
    struct sum s = { 0, true };

    add(&s, n_tok, n_slots, (size_t)pack_row_elems(d_ff) * sizeof(uint16_t));
    add(&s, n_tok * n_slots, (size_t)pack_row_elems(d_model), sizeof(float));
    add(&s, n_tok, (size_t)pack_row_elems(d_model), 2 * sizeof(uint16_t));
    add(&s, n_tok, n_slots, 3 * sizeof(float)); /* the list of pairs */
    add(&s, n_exp + n_tok * n_slots / UNIT_PAIRS,
        (size_t)(pack_row_tiles(pack_pair_rows(d_ff)) + pack_row_tiles(d_model)),
        4 * sizeof(int32_t)); /* the experts' units of work */
    return s;
}

/* Working memory of the ops: one block for all, of the next power of two, and what a whole forward
 * keeps beside it. */
static void add_working(struct sum *s, const struct kernel_sizes *m)
{
    const int widest = m->d_model > m->n_head * m->d_head ? m->d_model : m->n_head * m->d_head;
    const size_t most_tok = FORWARD_MOE_TOKENS;
    const size_t n_tok = (size_t)m->max_tok < most_tok ? (size_t)m->max_tok : most_tok;
    const size_t n_shared = (size_t)m->n_shared;
    const struct moe_weights whole = { .n_exp = 1, .d_model = m->d_model, .d_ff = m->d_ff_dense };
    const struct moe_weights cut = moe_cut(&whole);
    const size_t n_parts = m->n_dense_layer ? (size_t)cut.n_exp : 0;
    const struct sum of_moe = measure_experts(n_tok, (size_t)m->max_slots + n_shared,
                                              (size_t)m->n_exp + n_shared, m->d_model, m->d_ff);
    const struct sum of_dense = measure_experts(n_tok, n_parts, n_parts, m->d_model, cut.d_ff);
    const struct sum experts = of_moe.bytes > of_dense.bytes ? of_moe : of_dense;
    size_t most = gemm_rounded_bytes(m->max_tok, widest), block = 1;

    s->fits = s->fits && of_moe.fits && of_dense.fits;
    most = experts.bytes > most ? experts.bytes : most;
    while (s->fits && block < most)
        s->fits = size_mul(block, 2, &block);
    add(s, 2, block, 1); /* a forward's own is at most as much again, and rounded activations */
    add(s, 1, 1, gemm_rounded_bytes(m->max_tok, m->d_model));
    add(s, 1, 1, gemm_rounded_bytes(m->max_tok, m->n_head * m->d_head));
}

/* Activations in tiles, and what proposals of all tokens are made in. */
static void add_fast(struct sum *s, const struct kernel_sizes *m)
{
    const int q = m->n_head * m->d_head;

    add(s, 1, 1, gemm_fast_tiled_bytes(m->max_tok, m->d_model > q ? m->d_model : q));
    add(s, 1, 1, gemm_fast_pick_bytes(m->max_tok));
}

enum status cuda_own_memory(const struct kernel_sizes *m, enum kernel_numeric numeric, size_t *ret,
                            struct error *err)
{
    struct sum s = { reserve_bytes, true };

    add_padding(&s, m);
    add_working(&s, m);
    if (numeric == KERNEL_FAST)
        add_fast(&s, m);
    /* a matrix lies there twice while it is packed */
    add(&s, (size_t)m->n_vocab, (size_t)m->d_model, sizeof(uint16_t));
    if (!s.fits)
        return error_set(err, ST_NOMEM, "this model does not fit an address space");
    *ret = s.bytes;
    return ST_OK;
}

enum status cuda_memory(const struct kernel_params *params, const struct kernel_sizes *m,
                        size_t *ret_own, size_t *ret_available, struct error *err)
{
    size_t own = 0, available = 0, total = 0;
    struct kernels *k = NULL;
    cudaError_t rc;
    enum status st = cuda_own_memory(m, params->numeric, &own, err);

    if (!st)
        st = cuda_ops.open(params, &k, err);
    if (st)
        return st;
    rc = cudaMemGetInfo(&available, &total);
    st = rc == cudaSuccess ? ST_OK : cuda_fail((struct cuda *)k, rc, "cudaMemGetInfo", err);
    cuda_ops.close(k);
    if (st)
        return st;
    *ret_own = own;
    *ret_available = available;
    return ST_OK;
}
