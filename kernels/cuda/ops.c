/* Ops whose kernels the fused forward runs, too: they are launched here with the table's own
 * activations, f32 in and out. */
#include "kernels/cuda/attention.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/gemm.h"
#include "kernels/cuda/gemm_fast.h"

enum status cuda_matmul(struct kernels *k, const float *x, const struct weight *w, int n_tok,
                        float *ret_y, struct error *err)
{
    struct cuda *c = (struct cuda *)k;
    struct gemm_args a = { .parts = { { NULL, ret_y, (int)w->rows } },
                           .n_parts = 1,
                           .cols = (int)w->cols,
                           .n_tok = n_tok };
    bool is_fast = c->is_fast && n_tok >= GEMM_FAST_MIN;
    void *made = NULL; /* what the product takes of x */
    enum status st;

    if (w->dtype != DT_BF16)
        return cuda_matmul_plain(c, x, w, n_tok, ret_y, err);
    st = cuda_weight_packed(c, w, &a.parts[0].w, err);
    if (!st)
        st = cuda_scratch_take(
            c, is_fast ? gemm_fast_tiled_bytes(n_tok, a.cols) : gemm_rounded_bytes(n_tok, a.cols),
            &made, err);
    if (st || n_tok == 0)
        return st;
    if (is_fast) {
        CUDA_TRY(c, gemm_fast_tile(x, n_tok, a.cols, made, c->stream), err);
        CUDA_TRY(c, gemm_fast_launch(&a, made, c->stream), err);
        return ST_OK;
    }
    a.x = made;
    CUDA_TRY(c, gemm_round(x, n_tok, a.cols, made, c->stream), err);
    CUDA_TRY(c, gemm_launch(&a, false, c->stream), err);
    return ST_OK;
}

enum status cuda_attention(struct kernels *k, const float *q, const int32_t *positions,
                           const struct attn_segment *segs, int n_segs, int n_head, int n_kv_head,
                           int d_head, float *ret_y, struct error *err)
{
    struct cuda *c = (struct cuda *)k;
    struct attention_args a = { .q = q,
                                .n_segs = n_segs,
                                .n_head = n_head,
                                .n_kv_head = n_kv_head,
                                .d_head = d_head,
                                .y = ret_y };
    size_t segs_bytes = (size_t)n_segs * sizeof(*segs), positions_bytes;
    const void *dev_segs = NULL, *dev_positions = NULL;
    int n_tok = 0;
    enum status st;

    if (d_head > ATTN_MAX_D_HEAD)
        return error_set(err, ST_UNSUPPORTED, "backend 'cuda' needs d_head %d <= %d", d_head,
                         (int)ATTN_MAX_D_HEAD);
    for (int i = 0; i < n_segs; i++) {
        n_tok = segs[i].row + segs[i].n_tok > n_tok ? segs[i].row + segs[i].n_tok : n_tok;
        a.max_tok = segs[i].n_tok > a.max_tok ? segs[i].n_tok : a.max_tok;
        a.max_kv = segs[i].n_kv > a.max_kv ? segs[i].n_kv : a.max_kv;
    }
    positions_bytes = (size_t)n_tok * sizeof(*positions);
    st = cuda_room(c, cuda_slot(segs_bytes) + cuda_slot(positions_bytes), err);
    if (!st)
        st = cuda_put(c, segs, segs_bytes, &dev_segs, err);
    if (!st)
        st = cuda_put(c, positions, positions_bytes, &dev_positions, err);
    if (st || n_tok == 0)
        return st;
    a.segs = dev_segs;
    a.positions = dev_positions;
    CUDA_TRY(c, attention_launch(&a, false, c->stream), err);
    return ST_OK;
}
