/* Mutants of references: which there are for an item. */
#include "tasks/mutant.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"

enum status mutants_add(struct mutants *m, enum mutant_kind kind, const char *name,
                        const char *details, struct buf *b, struct error *err)
{
    struct task_mutant t = { .kind = kind, .name = name };

    t.details = arena_strdup(m->arena, details, strlen(details));
    t.text = buf_to_arena(b, m->arena, &t.len);
    if (m->n == m->cap) {
        size_t cap = m->cap ? 2 * m->cap : 16;
        struct task_mutant *v = arena_array(m->arena, cap, sizeof(*v));

        if (v && m->n)
            memcpy(v, m->v, m->n * sizeof(*v));
        if (v) {
            m->v = v;
            m->cap = cap;
        }
    }
    if (!t.details || !t.text || m->n == m->cap)
        return error_set(err, ST_NOMEM, "out of memory for mutant '%s'", name);
    m->v[m->n++] = t;
    return ST_OK;
}

/* Stubs that pass an item's tests, and rightly so by what these ask. */
static bool is_let_through(const struct task_def *def, const char *id, const char *name)
{
    static const struct {
        enum task_format format;
        const char *id, *name;
    } known[] = {
        { FORMAT_HUMANEVAL_PRO, "32", "return-none" },     /* None is every expected value */
        { FORMAT_HUMANEVAL_PRO, "33", "return-argument" }, /* nothing is left to sort */
        { FORMAT_MBPP, "404", "return-argument" },         /* the lesser is always the first */
        { FORMAT_MBPP, "698", "return-argument" },         /* an order of keys, compared as dict */
        { FORMAT_MBPP, "847", "return-argument" },         /* to copy a list */
        { FORMAT_MBPP_SANITIZED, "404", "return-argument" },
    };

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (!def->is_bundled && (int)known[i].format == def->format &&
            strcmp(known[i].id, id) == 0 && strcmp(known[i].name, name) == 0)
            return true;
    return false;
}

/*
 * The reference with its tested function replaced, all else in place: what it returns has nothing
 * to do with the task. object() equals only itself.
 */
static enum status add_stubs(struct mutants *m, struct span source, const struct task_def *def,
                             const struct item *it, struct error *err)
{
    static const struct {
        const char *name, *body;
    } stubs[] = {
        { "return-object", "return object()" },
        { "return-none", "return None" },
        { "return-argument", "return (*args, *kwargs.values(), None)[0]" },
        { "raise", "raise NotImplementedError" },
    };
    enum status st = ST_OK;

    for (size_t i = 0; i < sizeof(stubs) / sizeof(stubs[0]) && !st; i++) {
        struct buf b = { 0 };

        buf_puts(&b, "```python\n");
        buf_append(&b, source.s, source.len);
        buf_printf(&b, "\n\ndef %s(*args, **kwargs):\n    %s\n```\n", it->entry_point,
                   stubs[i].body);
        st = mutants_add(m, MUTANT_STUB, stubs[i].name, "", &b, err);
        if (!st)
            m->v[m->n - 1].is_let_through = is_let_through(def, it->id, stubs[i].name);
    }
    return st;
}

static enum status add_programs(struct mutants *m, const struct task *t, const struct item *it,
                                size_t n_operators, struct error *err)
{
    struct buf b = { 0 };
    struct span source;
    size_t from = t->format->put_solution(it, &b);
    enum status st;

    source.s = buf_to_arena(&b, m->arena, &source.len);
    if (!source.s)
        return error_set(err, ST_NOMEM, "out of memory for a reference");
    st = add_stubs(m, source, t->def, it, err);
    if (!st)
        st = mutants_of_python(m, source, from, it->entry_point,
                               rng_hash(it->sha256, strlen(it->sha256)), n_operators, err);
    return st;
}

enum status task_make_mutants(const struct task *t, size_t index, size_t n_operators,
                              struct arena *arena, const struct task_mutant **ret, size_t *ret_n,
                              struct error *err)
{
    struct mutants m = { .arena = arena };
    const struct item *it, *next;
    enum status st;

    assert(index < t->n_items);
    it = &t->items[index];
    next = &t->items[(index + 1) % t->n_items];
    if (t->def->kind == TASK_CODE)
        st = add_programs(&m, t, it, n_operators, err);
    else
        st = t->format->make_mutants(&m, it->gold, next->gold, err);
    if (!st) {
        *ret = m.v;
        *ret_n = m.n;
    }
    return st;
}
