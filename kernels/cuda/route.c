/* The table's `route`: one call laid out, sent, and its statistics owed to the host. */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/route_call.h"

/* Statistics go where the segments say, at the next sync. */
static enum status deliver(struct cuda *c, const struct route_call *call,
                           const struct route_segment *segs, const void *results, struct error *err)
{
    struct route_call host = *call;
    size_t n_exp = (size_t)call->p.n_exp;
    enum status st = ST_OK;

    route_call_read(&host, results);
    for (int s = 0; s < call->n_segs && !st; s++) {
        st = cuda_deliver(c, segs[s].stats, &host.stats[s], sizeof(*host.stats), err);
        if (!st)
            st = cuda_deliver(c, segs[s].tokens_per_expert,
                              host.tokens_per_expert + (size_t)s * n_exp, n_exp * sizeof(int32_t),
                              err);
    }
    return st;
}

enum status cuda_route(struct kernels *k, const struct route_params *p,
                       const struct route_input *in, const struct route_segment *segs, int n_segs,
                       const struct route_output *out, struct error *err)
{
    struct cuda *c = (struct cuda *)k;
    int n_tok, n_groups = route_call_groups(segs, n_segs, &n_tok);
    struct route_call_size size;
    struct route_call call;
    const void *dev_args = NULL, *results = NULL;
    void *host_args = NULL, *work = NULL;
    enum status st;

    route_call_measure(p, n_tok, n_segs, n_groups, &size);
    if (size.args > SIZE_MAX / 4 || size.results > SIZE_MAX / 4 || size.work > SIZE_MAX / 4)
        return error_set(err, ST_NOMEM, "routing of %d tokens exceeds the address space", n_tok);
    st = cuda_room(c, cuda_slot(size.args) + cuda_slot(size.results), err);
    if (!st)
        st = cuda_scratch_take(c, size.work + size.results, &work, err);
    if (st)
        return st;
    host_args = c->room.host + c->room.used;
    route_call_plan(p, segs, n_segs, in->popularity, host_args, c->room.dev + c->room.used,
                    (char *)work + size.work, work, &call);
    st = cuda_put(c, host_args, size.args, &dev_args, err);
    if (st)
        return st;
    call.scores = in->scores;
    call.logits = in->logits;
    route_call_set_bias(&call, in->bias);
    call.importance = in->importance;
    call.out = *out;
    CUDA_TRY(c, route_launch(&call, c->stream), err);
    st = cuda_get(c, call.stats, size.results, &results, err);
    return st ? st : deliver(c, &call, segs, results, err);
}
