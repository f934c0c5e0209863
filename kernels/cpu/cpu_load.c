/* cpu ops that take weights over: bf16 matrices are packed, by all threads; others are borrowed. */
#include "kernels/cpu/cpu.h"

bool cpu_keeps_host(const struct kernels *k, const struct host_matrix *m)
{
    (void)k;
    return m->rows > 1 && m->dtype != DT_BF16;
}

struct pack_job {
    const struct host_matrix *m;
    const struct experts *e; /* or these */
    char *ret;
};

static void pack_panel_unit(void *arg, int unit, int thread)
{
    const struct pack_job *j = arg;
    char *panel = j->ret + (size_t)unit * packed_steps(j->m->cols) * STEP_BYTES;

    (void)thread;
    for (int half = 0; half < 2; half++)
        packed_fill(j->m, (int64_t)unit * PANEL_ROWS + half * TILE_SIDE, half, panel);
}

enum status cpu_weight_load(struct kernels *k, const struct host_matrix *m, struct weight **ret,
                            struct error *err)
{
    struct cpu *c = (struct cpu *)k;
    struct weight *w = NULL;
    struct pack_job j = { .m = m };
    enum status st = host_weight_load(k, m, &w, err);

    if (!st && m->rows > 1 && m->dtype == DT_BF16) {
        st = pages_new(packed_bytes(m->rows, m->cols), &w->packed, err);
        if (!st) {
            j.ret = w->packed.data;
            w->m.data = NULL; /* the caller may take it away */
            pool_run(c->pool, pack_panel_unit, &j, (int)packed_panels(m->rows));
        }
    }
    if (!st)
        *ret = w; /* else it is freed with the backend */
    return st;
}

/* A unit is one expert. */
static void pack_expert_unit(void *arg, int unit, int thread)
{
    const struct pack_job *j = arg;
    const struct experts *e = j->e;
    char *panel = j->ret + (size_t)unit * experts_each_bytes(e);

    (void)thread;
    for (int64_t r = 0; r < e->d_ff; r += TILE_SIDE) {
        packed_fill(&e->gate[unit], r, 0, panel);
        packed_fill(&e->up[unit], r, 1, panel);
        panel += packed_steps(e->d_model) * STEP_BYTES;
    }
    panel = j->ret + (size_t)unit * experts_each_bytes(e) + experts_hidden_bytes(e);
    for (int64_t r = 0; r < e->d_model; r += PANEL_ROWS) {
        packed_fill(&e->down[unit], r, 0, panel);
        packed_fill(&e->down[unit], r + TILE_SIDE, 1, panel);
        panel += packed_steps(e->d_ff) * STEP_BYTES;
    }
}

enum status cpu_experts_load(struct kernels *k, int n_exp, int n_shared,
                             const struct host_matrix *gate, const struct host_matrix *up,
                             const struct host_matrix *down, struct experts **ret,
                             struct error *err)
{
    struct cpu *c = (struct cpu *)k;
    struct experts *e = NULL;
    struct pack_job j = { 0 };
    enum status st = host_experts_load(k, n_exp, n_shared, gate, up, down, &e, err);
    int n = n_exp + n_shared;

    if (!st && gate[0].dtype == DT_BF16) {
        st = pages_new((size_t)n * experts_each_bytes(e), &e->packed, err);
        if (!st) {
            j.e = e;
            j.ret = e->packed.data;
            pool_run(c->pool, pack_expert_unit, &j, n);
            for (int i = 0; i < n; i++)
                e->gate[i].data = e->up[i].data = e->down[i].data = NULL;
        }
    }
    if (!st)
        *ret = e;
    return st;
}
