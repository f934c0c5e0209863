/* Marks of a forward, and the times between them: kernels/profile.h. */
#include "kernels/profile.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/size.h"
#include "kernels/kernels.h"

struct mark {
    enum profile_part part;
    int layer;
};

struct profile {
    struct kernels *k;
    int n_layer;
    size_t n_sums;
    size_t n_marks, max_marks; /* beside the first */
    struct mark *marks;        /* (max_marks) what ended there */
    int64_t *ns;   /* (max_marks + 1) where the backend has no marks, moments; then times */
    int64_t *sums; /* (n_layer + 1, PROFILE_PARTS) the first row: of no layer */
};

const char *profile_part_name(enum profile_part part)
{
    static const char *const names[] = { [PROFILE_EMBED] = "embed",
                                         [PROFILE_NORM] = "norm",
                                         [PROFILE_QKV] = "qkv",
                                         [PROFILE_HEADS] = "heads",
                                         [PROFILE_ATTENTION] = "attention",
                                         [PROFILE_O] = "o",
                                         [PROFILE_ROUTE] = "route",
                                         [PROFILE_MOE] = "moe",
                                         [PROFILE_HEAD] = "head" };

    return names[part];
}

enum status profile_new(struct kernels *k, int n_layer, struct profile **ret, struct error *err)
{
    struct profile *p = calloc(1, sizeof(*p));
    size_t n_rows = (size_t)n_layer + 1, n;

    if (p && size_mul(n_rows, PROFILE_PARTS, &n)) {
        p->k = k;
        p->n_layer = n_layer;
        p->n_sums = p->max_marks = n;
        p->marks = calloc(n, sizeof(*p->marks));
        p->ns = calloc(n + 1, sizeof(*p->ns));
        p->sums = calloc(n, sizeof(*p->sums));
    }
    if (!p || !p->marks || !p->ns || !p->sums) {
        profile_free(p);
        return error_set(err, ST_NOMEM, "out of memory for the times of %d layers", n_layer);
    }
    *ret = p;
    return ST_OK;
}

void profile_free(struct profile *p)
{
    if (!p)
        return;
    free(p->marks);
    free(p->ns);
    free(p->sums);
    free(p);
}

/* Mark number i, counting the first. */
static enum status note(struct profile *p, size_t i, struct error *err)
{
    if (p->k->ops->mark)
        return p->k->ops->mark(p->k, (int)i, err);
    p->ns[i] = clock_mono_ns();
    return ST_OK;
}

enum status profile_begin(struct profile *p, struct error *err)
{
    p->n_marks = 0;
    return note(p, 0, err);
}

/* A backend that works on tokens in several goes marks parts several times. */
static enum status grow(struct profile *p, struct error *err)
{
    size_t max = 2 * p->max_marks, bytes, ns_bytes;
    bool is_sized =
        size_mul(max, sizeof(*p->marks), &bytes) && size_mul(max + 1, sizeof(*p->ns), &ns_bytes);
    struct mark *marks = is_sized ? realloc(p->marks, bytes) : NULL;
    int64_t *ns = marks ? realloc(p->ns, ns_bytes) : NULL;

    if (marks)
        p->marks = marks;
    if (!ns)
        return error_set(err, ST_NOMEM, "out of memory for %zu marks of a forward", max);
    p->ns = ns;
    p->max_marks = max;
    return ST_OK;
}

enum status profile_mark(struct profile *p, enum profile_part part, int layer, struct error *err)
{
    if (!p)
        return ST_OK;
    assert(layer >= -1 && layer < p->n_layer);
    if (p->n_marks == p->max_marks) {
        enum status st = grow(p, err);

        if (st)
            return st;
    }
    p->marks[p->n_marks++] = (struct mark){ part, layer };
    return note(p, p->n_marks, err);
}

static size_t place(enum profile_part part, int layer)
{
    return (size_t)(layer + 1) * PROFILE_PARTS + (size_t)part;
}

enum status profile_end(struct profile *p, struct error *err)
{
    const size_t n = p->n_marks;
    enum status st = ST_OK;

    if (p->k->ops->mark)
        st = p->k->ops->read_marks(p->k, (int)n, p->ns, err);
    else
        for (size_t i = 0; i < n; i++)
            p->ns[i] = p->ns[i + 1] - p->ns[i];
    if (st)
        return st;
    for (size_t i = 0; i < p->n_sums; i++)
        p->sums[i] = -1;
    for (size_t i = 0; i < n; i++) {
        int64_t *sum = &p->sums[place(p->marks[i].part, p->marks[i].layer)];

        *sum = (*sum < 0 ? 0 : *sum) + p->ns[i];
    }
    return ST_OK;
}

int64_t profile_ns(const struct profile *p, enum profile_part part, int layer)
{
    return p->sums[place(part, layer)];
}
