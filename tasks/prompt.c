/* Prompts: a form's templates filled in with examples and item. tasks/forms.h says how. */
#include <assert.h>
#include <string.h>

#include "base/json.h"
#include "tasks/forms.h"

static enum status no_memory(struct error *err)
{
    return error_set(err, ST_NOMEM, "out of memory for a prompt");
}

/* ---- templates -------------------------------------------------------------------------- */

/* "{name}" or "{name|filter}" in a template. */
struct hole {
    struct span name, filter; /* filter is empty where there is none */
    size_t len;               /* of all of it, braces included */
};

/* Is there a hole at `at`, which is a brace? */
static bool find_hole(const char *at, struct hole *ret)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz_0123456789";
    size_t n = at[1] == '#' ? 1 : strspn(at + 1, letters), m = 0;

    if (n == 0)
        return false;
    if (at[1 + n] == '|')
        m = 1 + strspn(at + 2 + n, letters);
    if (at[1 + n + m] != '}')
        return false;
    *ret = (struct hole){ .name = { at + 1, n }, .len = n + m + 2 };
    if (m)
        ret->filter = (struct span){ at + 2 + n, m - 1 };
    return true;
}

/* "... The answer is 6." as Llama's examples word it, "... The final answer is 6". */
static enum status put_final(struct span s, const char *where, struct buf *b, struct error *err)
{
    static const char old[] = "The answer is ";
    size_t at;

    if (!span_find_last(s, old, &at) || s.s[s.len - 1] != '.')
        return error_set(err, ST_INVALID, "%s: '%sN.' must end the example, found '%.80s'", where,
                         old, s.s);
    buf_append(b, s.s, at);
    buf_puts(b, "The final answer is ");
    at += strlen(old);
    buf_append(b, s.s + at, s.len - 1 - at);
    return ST_OK;
}

static enum status put_string(struct span s, struct span filter, const char *where, struct buf *b,
                              struct error *err)
{
    struct span line, rest = s;

    if (span_equal(filter, "final"))
        return put_final(s, where, b, err);
    if (span_equal(filter, "second")) {
        if (!span_next_line(&rest, &line) || !span_next_line(&rest, &s))
            return error_set(err, ST_INVALID, "%s: a second line is needed, found '%.80s'", where,
                             s.s);
    } else if (span_equal(filter, "strip")) {
        s = span_trim(s);
    } else {
        assert(filter.len == 0 || span_equal(filter, "lf"));
    }
    for (size_t i = 0; i < s.len; i++)
        if (s.s[i] != '\r' || filter.len == 0 || !span_equal(filter, "lf"))
            buf_putc(b, s.s[i]);
    return ST_OK;
}

static enum status put_list(const json_t *list, struct span filter, const char *where,
                            struct buf *b, struct error *err)
{
    size_t n = json_array_size(list);
    size_t wanted = span_equal(filter, "first") ? 1 : span_equal(filter, "first3") ? 3 : n;

    if (n < wanted)
        return error_set(err, ST_INVALID, "%s: %zu strings in a list, at least %zu are needed",
                         where, n, wanted);
    for (size_t i = 0; i < wanted; i++) {
        const char *s = json_string_value(json_array_get(list, i));

        if (!s)
            return error_set(err, ST_INVALID, "%s: element %zu of a list is no string", where, i);
        if (i > 0)
            buf_putc(b, '\n');
        buf_puts(b, s);
    }
    return ST_OK;
}

/* Append a template's text for a record, which messages call `where`. */
static enum status put_template(const char *template, const json_t *record, const char *where,
                                size_t number, struct buf *b, struct error *err)
{
    enum status st = ST_OK;
    struct hole h;

    for (const char *p = template; *p && !st;) {
        char key[32];
        const json_t *v;
        const char *s;

        if (*p != '{' || !find_hole(p, &h)) {
            buf_putc(b, *p++);
            continue;
        }
        p += h.len;
        assert(h.name.len < sizeof(key));
        memcpy(key, h.name.s, h.name.len);
        key[h.name.len] = '\0';
        v = json_object_get(record, key);
        if (key[0] == '#') {
            buf_printf(b, "%zu", number);
        } else if (json_is_array(v)) {
            st = put_list(v, h.filter, where, b, err);
        } else {
            st = json_get_str(record, where, key, &s, NULL, err);
            if (!st)
                st = put_string(span_of(s), h.filter, where, b, err);
        }
    }
    return st;
}

/* ---- messages --------------------------------------------------------------------------- */

/* A prompt in the making. */
struct making {
    const struct task *task;
    const struct form *form;
    struct arena *arena;
    struct task_message *msgs;
    size_t n_msgs;
    struct buf text; /* of the next message */
    const char *role;
};

/* End the message that was being written, if any, and begin another; role NULL: no other. */
static enum status turn_to(struct making *m, const char *role, struct error *err)
{
    struct task_message *msg = &m->msgs[m->n_msgs];

    if (m->role) {
        assert(m->n_msgs < FORM_MESSAGES_MAX);
        msg->role = m->role;
        msg->text = buf_to_arena(&m->text, m->arena, &msg->len);
        if (!msg->text)
            return no_memory(err);
        m->n_msgs++;
    }
    m->role = role;
    return ST_OK;
}

static enum status put_example(struct making *m, const json_t *record, size_t number,
                               struct error *err)
{
    const struct form *f = m->form;
    const char *where = arena_printf(m->arena, "prompt form '%s' of task '%s', example %zu",
                                     f->shown.name, m->task->def->name, number);
    enum status st = where ? ST_OK : no_memory(err);

    if (!st && !f->is_one_text)
        st = turn_to(m, "user", err);
    if (!st)
        st =
            put_template(f->question ? f->question : f->item, record, where, number, &m->text, err);
    if (!st && !f->is_one_text)
        st = turn_to(m, "assistant", err);
    return st ? st : put_template(f->answer, record, where, number, &m->text, err);
}

static enum status put_examples(struct making *m, struct error *err)
{
    json_t *examples, *record;
    enum status st;
    size_t k;

    if (m->form->examples == EXAMPLES_NONE)
        return ST_OK;
    st = examples_get(m->task, m->form, &examples, err);
    if (st)
        return st;
    if (m->form->intro)
        buf_puts(&m->text, m->form->intro);
    json_array_foreach(examples, k, record)
    {
        if (!st)
            st = put_example(m, record, k + 1, err);
    }
    json_decref(examples);
    return st;
}

/* The item itself, and the beginning of its answer, which is also noted on its own. */
static enum status put_item(struct making *m, size_t index, struct task_prompt *ret,
                            struct error *err)
{
    const struct item *it = &m->task->items[index];
    const struct form *f = m->form;
    const char *where = arena_printf(m->arena, "task '%s' item '%s'", m->task->def->name, it->id);
    struct buf prefix = { 0 };
    enum status st = where ? ST_OK : no_memory(err);

    if (!st && !f->is_one_text)
        st = turn_to(m, "user", err);
    if (!st)
        st = put_template(f->item, it->record, where, 0, &m->text, err);
    if (!st && f->prefix)
        st = put_template(f->prefix, it->record, where, 0, &prefix, err);
    if (!st && f->prefix && f->shown.is_chat)
        st = turn_to(m, "assistant", err);
    if (!st)
        buf_append(&m->text, buf_str(&prefix), prefix.len);
    if (!st && !buf_ok(&prefix))
        st = no_memory(err);
    ret->prefix = st ? NULL : buf_to_arena(&prefix, m->arena, &ret->prefix_len);
    buf_release(&prefix);
    if (!st && !ret->prefix)
        st = no_memory(err);
    return st ? st : turn_to(m, NULL, err);
}

static enum status unknown_form(const struct task_def *def, const char *name, struct error *err)
{
    const struct task_form *f;
    struct buf names = { 0 };

    for (size_t i = 0; (f = task_form_get(def, i)) != NULL; i++)
        buf_printf(&names, "%s%s", i ? ", " : "", f->name);
    error_set(err, ST_INVALID, "task '%s' has no prompt form '%s'; its forms are %s", def->name,
              name, buf_str(&names));
    buf_release(&names);
    return ST_INVALID;
}

enum status task_make_prompt(const struct task *t, size_t index, const char *form_name,
                             struct arena *arena, struct task_prompt *ret, struct error *err)
{
    const char *name = form_name ? form_name : t->def->prompt_form;
    struct making m = { .task = t, .form = form_find(t->def, name), .arena = arena };
    struct task_prompt p;
    enum status st = ST_OK;

    if (!m.form)
        return unknown_form(t->def, name, err);
    m.msgs = arena_array(arena, FORM_MESSAGES_MAX, sizeof(*m.msgs));
    if (!m.msgs)
        return no_memory(err);
    p = (struct task_prompt){
        .form = m.form->shown.name,
        .is_chat = m.form->shown.is_chat,
        .n_shots = m.form->shown.n_shots,
        .msgs = m.msgs,
        .stops = m.form->shown.stops,
        .is_code = m.form->is_prefix_code,
    };
    if (m.form->system) {
        st = turn_to(&m, "system", err);
        buf_puts(&m.text, m.form->system);
    }
    if (!st && m.form->is_one_text)
        st = turn_to(&m, "user", err);
    if (!st)
        st = put_examples(&m, err);
    if (!st)
        st = put_item(&m, index, &p, err);
    buf_release(&m.text);
    if (st)
        return st;
    p.n_msgs = m.n_msgs;
    *ret = p;
    return ST_OK;
}
