/* The loops of cpu_moe.c over packed experts (packed.h). */
#include <string.h>

#include "kernels/cpu/cpu_moe.h"

/* Hidden units of a panel of gate and up, and of a unit, which is what prepare() wants. */
enum { PANEL_HIDDEN = PANEL_ROWS / 2, UNIT_HIDDEN = PACK_COLS };

_Static_assert(UNIT_HIDDEN == 2 * PANEL_HIDDEN, "a unit is two panels");

/* A group of an expert's pairs. */
struct group {
    int first, n;
};

static int count_groups(const struct moe_job *j, int i)
{
    return (j->first[i + 1] - j->first[i] + GROUP_TOKENS - 1) / GROUP_TOKENS;
}

static struct group group_at(const struct moe_job *j, int i, int g)
{
    int first = j->first[i] + g * GROUP_TOKENS, left = j->first[i + 1] - first;

    return (struct group){ first, left < GROUP_TOKENS ? left : GROUP_TOKENS };
}

/* Inputs of the pairs of active expert number `unit`. */
static void prepare_unit(void *arg, int unit, int thread)
{
    const struct moe_job *j = arg;
    size_t d = (size_t)j->e->d_model, n_steps = packed_steps(j->e->d_model);

    (void)thread;
    for (int g = 0; g < count_groups(j, unit); g++) {
        struct group q = group_at(j, unit, g);

        for (int p = 0; p < q.n; p++)
            j->inner->gemm.prepare(j->x + (size_t)j->token[q.first + p] * d, d, 0, n_steps, p, q.n,
                                   j->prepared_x + (size_t)q.first * j->x_bytes);
    }
}

/* First panel of unit number `unit` of the first loop. */
static const char *hidden_panel(const struct moe_job *j, int unit)
{
    const struct experts *e = j->e;
    size_t n_blocks = packed_panels(e->d_ff), i = (size_t)unit / n_blocks;
    size_t panel_bytes = packed_steps(e->d_model) * STEP_BYTES;

    return (const char *)e->packed.data + (size_t)j->active[i] * experts_each_bytes(e) +
           (size_t)unit % n_blocks * 2 * panel_bytes;
}

static void hidden_unit(void *arg, int unit, int next, int thread)
{
    const struct moe_job *j = arg;
    const struct experts *e = j->e;
    int n_blocks = (int)packed_panels(e->d_ff), i = unit / n_blocks, block = unit % n_blocks;
    int n_groups = count_groups(j, i);
    size_t n_steps = packed_steps(e->d_model), left = (size_t)e->d_ff - (size_t)block * UNIT_HIDDEN;
    const char *panels = hidden_panel(j, unit);
    float y[GROUP_TOKENS * PANEL_ROWS], h[GROUP_TOKENS * UNIT_HIDDEN];

    (void)thread;
    for (int g = 0; g < n_groups; g++) {
        struct group q = group_at(j, i, g);

        for (int half = 0; half < 2; half++) {
            const char *panel = panels + (size_t)half * n_steps * STEP_BYTES;
            struct ahead ahead = { panel + n_steps * STEP_BYTES, g, n_groups };

            if (half)
                ahead.panel = next < 0 ? NULL : hidden_panel(j, next);
            j->inner->gemm.run(panel, n_steps, j->prepared_x + (size_t)q.first * j->x_bytes, q.n, y,
                               ahead);
            for (int p = 0; p < q.n; p++) {
                float *at = h + p * UNIT_HIDDEN + half * PANEL_HIDDEN;

                memcpy(at, y + p * PANEL_ROWS, PANEL_HIDDEN * sizeof(*at));
                j->inner->silu_mul(at, y + p * PANEL_ROWS + PANEL_HIDDEN, PANEL_HIDDEN);
            }
        }
        for (int p = 0; p < q.n; p++)
            j->inner->gemm.prepare(h + p * UNIT_HIDDEN, left < UNIT_HIDDEN ? left : UNIT_HIDDEN,
                                   (size_t)block, packed_steps(e->d_ff), p, q.n,
                                   j->prepared_h + (size_t)q.first * j->h_bytes);
    }
}

/* Panel number `unit` of the down matrix of active expert number i. */
static const char *down_panel(const struct moe_job *j, int i, int unit)
{
    const struct experts *e = j->e;

    return (const char *)e->packed.data + (size_t)j->active[i] * experts_each_bytes(e) +
           experts_hidden_bytes(e) + (size_t)unit * packed_steps(e->d_ff) * STEP_BYTES;
}

static void down_unit(void *arg, int unit, int next, int thread)
{
    const struct moe_job *j = arg;
    size_t d_model = (size_t)j->e->d_model, r = (size_t)unit * PANEL_ROWS, left = d_model - r;
    size_t n_rows = left < PANEL_ROWS ? left : PANEL_ROWS;
    float d[GROUP_TOKENS * PANEL_ROWS];

    (void)thread;
    for (int t = 0; t < j->n_tok; t++)
        memset(j->y + (size_t)t * d_model + r, 0, n_rows * sizeof(float));
    for (int i = 0; i < j->n_active; i++) {
        int n_groups = count_groups(j, i);

        for (int g = 0; g < n_groups; g++) {
            struct group q = group_at(j, i, g);
            struct ahead ahead = { NULL, g, n_groups };

            if (i + 1 < j->n_active)
                ahead.panel = down_panel(j, i + 1, unit);
            else if (next >= 0)
                ahead.panel = down_panel(j, 0, next);
            j->inner->gemm.run(down_panel(j, i, unit), packed_steps(j->e->d_ff),
                               j->prepared_h + (size_t)q.first * j->h_bytes, q.n, d, ahead);
            for (int p = 0; p < q.n; p++)
                j->inner->axpy(j->y + (size_t)j->token[q.first + p] * d_model + r,
                               j->weight[q.first + p], d + p * PANEL_ROWS, n_rows);
        }
    }
}

void moe_run_packed(struct moe_job *j)
{
    pool_run(j->cpu->pool, prepare_unit, j, j->n_active);
    pool_run_ahead(j->cpu->pool, hidden_unit, j, j->n_active * (int)packed_panels(j->e->d_ff));
    pool_run_ahead(j->cpu->pool, down_unit, j, (int)packed_panels(j->e->d_model));
}
