/*
 * Times of a forward's parts, of steps that are asked for.
 *
 * The forward of such a step is run a second time, with marks between its kernels: they keep a GPU
 * from starting kernels early, and a clock is read between ops. So what is measured of the step
 * itself stays as it is, and sequences' clocks are set on by what the second run took.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "engine/sequence_impl.h"

enum status engine_time_next(struct engine *e, struct error *err)
{
    const size_t n_layer = (size_t)e->info->n_layer;

    if (!e->model)
        return error_set(err, ST_UNSUPPORTED, "model '%s' was opened for text only", e->info->name);
    if (!e->parts)
        e->parts = calloc((n_layer + 1) * PROFILE_PARTS, sizeof(*e->parts));
    if (!e->unique)
        e->unique = calloc(n_layer, sizeof(*e->unique));
    if (!e->parts || !e->unique)
        return error_set(err, ST_NOMEM, "out of memory for the times of %zu layers", n_layer);
    e->is_timed = true;
    return ST_OK;
}

struct step_times engine_step_times(const struct engine *e)
{
    return e->times;
}

static void keep_times(struct engine *e, const struct profile *p)
{
    size_t n = 0;

    for (int l = -1; l < e->info->n_layer; l++)
        for (int part = 0; part < PROFILE_PARTS; part++) {
            int64_t ns = profile_ns(p, (enum profile_part)part, l);

            if (ns >= 0)
                e->parts[n++] =
                    (struct part_time){ .part = profile_part_name((enum profile_part)part),
                                        .layer = l,
                                        .ns = ns,
                                        .n_unique =
                                            part == PROFILE_MOE && l >= 0 ? e->unique[l] : 0 };
        }
    e->times.parts = e->parts;
    e->times.n_parts = n;
}

enum status step_time(struct engine *e, int n, int64_t *start_ns, struct error *err)
{
    const int64_t from_ns = clock_mono_ns();
    const struct profile *p;
    int64_t took_ns;
    enum status st;

    e->is_timed = false;
    st = model_time(e->model, e->items, n, &p, &e->times.n_tok, e->unique, err);
    if (st)
        return st;
    keep_times(e, p);
    e->times.took_ns = took_ns = clock_mono_ns() - from_ns;
    for (int i = 0; i < n; i++)
        e->active[i]->start_ns += took_ns;
    *start_ns += took_ns;
    return ST_OK;
}
