/* The reference backend: lifecycle and table. */
#include "kernels/ref/ref.h"

#include <stdlib.h>

static enum status ref_open(const struct kernel_params *params, struct kernels **ret,
                            struct error *err)
{
    struct ref *r = calloc(1, sizeof(*r));

    (void)params; /* one thread, whatever is asked for */
    if (!r)
        return error_set(err, ST_NOMEM, "out of memory opening backend 'ref'");
    r->host.base.ops = &ref_ops;
    *ret = &r->host.base;
    return ST_OK;
}

static void ref_close(struct kernels *k)
{
    struct ref *r = (struct ref *)k;

    if (!r)
        return;
    host_release(&r->host);
    scratch_release(&r->scratch);
    free(r);
}

static const char *ref_describe(const struct kernels *k)
{
    (void)k;
    return "portable C, f64 sums, 1 thread";
}

const struct kernel_ops ref_ops = {
    .name = "ref",
    .help = "the definition: plain loops, f64 sums, one thread",
    .open = ref_open,
    .close = ref_close,
    .describe = ref_describe,
    .alloc = host_alloc,
    .free = host_free,
    .upload = host_upload,
    .download = host_download,
    .sync = host_sync,
    .weight_load = host_weight_load,
    .experts_load = host_experts_load,
    .embed = ref_embed,
    .rms_norm = ref_rms_norm,
    .matmul = ref_matmul,
    .rope = ref_rope,
    .kv_store = ref_kv_store,
    .attention = ref_attention,
    .add = ref_add,
    .router = ref_router,
    .l1_norm = ref_l1_norm,
    .route = ref_route,
    .rel_error = ref_rel_error,
    .moe = ref_moe,
    .pick = ref_pick,
    .bias_logits = ref_bias_logits,
    .expect = ref_expect,
};
