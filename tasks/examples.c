/*
 * Worked examples of prompt forms, as records: from fewshot.json, from the data set itself, or
 * from GSM8K's training items.
 *
 * What the public data sets hold is taken from them. fewshot.json holds the rest, an object of
 *
 *   KEY: {"turns": [{"role": "HUMAN" | "BOT", "text": "..."}, ...]}    in turns, HUMAN first
 *   KEY: {"shots": [{FIELD: "...", ...}, ...]}
 *
 * and may hold more of either than a form needs: upstream's lists go on with the item's template.
 */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "tasks/forms.h"

/* As forms name them. */
static const char fewshot_name[] = "fewshot.json", train_name[] = "gsm8k_train.jsonl";

enum {
    FEWSHOT_BYTES_MAX = 16 << 20,
    TRAIN_BYTES_MAX = 64 << 20,
    TRAIN_RECORDS = 5, /* as many as a form takes */
    FIRST_RECORD_ID = 2
};

static enum status no_memory(struct error *err)
{
    return error_set(err, ST_NOMEM, "out of memory for a prompt's examples");
}

static void read_fewshot(const char *path, struct examples_file *f)
{
    if (json_read(path, FEWSHOT_BYTES_MAX, &f->records, &f->error) == ST_NOT_FOUND)
        error_set(&f->error, ST_NOT_FOUND,
                  "no file '%s' with few-shot examples (`desbench data fetch` makes it)", path);
}

/* The first records of the training items. */
static void read_train(const char *path, bool is_sha_checked, struct examples_file *f)
{
    const struct data_file *pin = &data_files[DATA_GSM8K_TRAIN];
    enum data_state state = DATA_WRONG;
    struct error *err = &f->error;
    struct buf bytes = { 0 };
    struct span rest, line;
    char sha256[SHA256_HEX_SIZE];
    enum status st = file_read(path, TRAIN_BYTES_MAX, &bytes, err);
    json_t *v;

    if (st == ST_NOT_FOUND)
        error_set(err, st, "no file '%s' with GSM8K's training items (`desbench data fetch`)",
                  path);
    if (!st && is_sha_checked)
        st = data_check(pin, buf_str(&bytes), bytes.len, &state, sha256, err);
    if (!st && is_sha_checked && state == DATA_WRONG)
        st = error_set(err, ST_MISMATCH,
                       "'%s' is not the file whose first items are the examples: its SHA-256 is "
                       "%s, expected %s",
                       path, sha256, pin->sha256);
    if (!st && !(f->records = json_array()))
        st = no_memory(err);
    rest = (struct span){ buf_str(&bytes), bytes.len };
    for (size_t n = 1; !st && n <= TRAIN_RECORDS && span_next_line(&rest, &line); n++) {
        st = json_parse(line.s, line.len, path, n, &v, err);
        if (!st && json_array_append_new(f->records, v) != 0)
            st = no_memory(err);
    }
    buf_release(&bytes);
    if (st) {
        json_decref(f->records);
        f->records = NULL;
    }
}

void examples_read(struct task *t, const char *dir, bool is_sha_checked)
{
    bool has_fewshot = false, has_train = false;
    const struct task_form *f;
    char *path;

    for (size_t i = 0; (f = task_form_get(t->def, i)) != NULL; i++) {
        has_fewshot |= f->needs && strcmp(f->needs, fewshot_name) == 0;
        has_train |= f->needs && strcmp(f->needs, train_name) == 0;
    }
    path = has_fewshot ? arena_printf(&t->arena, "%s/%s", dir, fewshot_name) : NULL;
    if (path)
        read_fewshot(path, &t->fewshot);
    else if (has_fewshot)
        no_memory(&t->fewshot.error);
    path = has_train ? arena_printf(&t->arena, "%s/%s", dir, train_name) : NULL;
    if (path)
        read_train(path, is_sha_checked, &t->train);
    else if (has_train)
        no_memory(&t->train.error);
}

/* A pair of turns as a record of {human} and {bot}. `where` names the list of turns. */
static enum status add_pair(const json_t *turns, size_t first, const char *where, json_t *ret,
                            struct error *err)
{
    static const struct {
        const char *role, *key;
    } sides[] = { { "HUMAN", "human" }, { "BOT", "bot" } };
    json_t *pair = json_object();
    struct buf at = { 0 };
    enum status st = pair && json_array_append_new(ret, pair) == 0 ? ST_OK : no_memory(err);

    for (size_t i = 0; i < 2 && !st; i++) {
        const json_t *turn = json_array_get(turns, first + i);
        const char *role, *text;

        buf_clear(&at);
        buf_printf(&at, "%s turn %zu", where, first + i);
        st = json_get_str(turn, buf_str(&at), "role", &role, NULL, err);
        if (!st)
            st = json_get_str(turn, buf_str(&at), "text", &text, NULL, err);
        if (!st && strcmp(role, sides[i].role) != 0)
            st = error_set(err, ST_INVALID, "%s: role '%s', '%s' is needed", buf_str(&at), role,
                           sides[i].role);
        if (!st && json_object_set_new(pair, sides[i].key, json_string(text)) != 0)
            st = no_memory(err);
    }
    buf_release(&at);
    return st;
}

/* The examples of a key in fewshot.json. */
static enum status get_fewshot(const struct task *t, const struct form *form, json_t *ret,
                               struct error *err)
{
    size_t n = (size_t)form->shown.n_shots, per_shot = 1;
    struct buf where = { 0 };
    json_t *entry, *list;
    bool is_turns;
    enum status st;

    if (json_is_object(t->fewshot.records) && !json_object_get(t->fewshot.records, form->key))
        return error_set(err, ST_NOT_FOUND, "'%s' has no key '%s'", fewshot_name, form->key);
    st = json_get_object(t->fewshot.records, fewshot_name, form->key, &entry, err);
    if (st)
        return st;
    is_turns = json_object_get(entry, "turns") != NULL;
    buf_printf(&where, "'%s' key '%s'", fewshot_name, form->key);
    st = json_get_array(entry, buf_str(&where), is_turns ? "turns" : "shots", &list, err);
    if (is_turns)
        per_shot = 2;
    if (!st && json_array_size(list) < n * per_shot)
        st = error_set(err, ST_INVALID, "%s: %zu %s, at least %zu are needed", buf_str(&where),
                       json_array_size(list), is_turns ? "turns" : "shots", n * per_shot);
    for (size_t i = 0; i < n && !st; i++) {
        if (is_turns)
            st = add_pair(list, 2 * i, buf_str(&where), ret, err);
        else if (json_array_append(ret, json_array_get(list, i)) != 0)
            st = no_memory(err);
    }
    buf_release(&where);
    return st;
}

/* Records of the data set's file by id, whether or not the task asks them. */
static enum status get_records(const struct task *t, const struct form *form, json_t *ret,
                               struct error *err)
{
    for (json_int_t id = FIRST_RECORD_ID; id < FIRST_RECORD_ID + form->shown.n_shots; id++) {
        json_t *record, *found = NULL;
        size_t k;

        json_array_foreach(t->records, k, record)
        {
            if (json_integer_value(json_object_get(record, "task_id")) == id)
                found = record;
        }
        if (!found)
            return error_set(err, ST_NOT_FOUND, "'%s' has no record with task_id %lld, an example",
                             t->def->file, (long long)id);
        if (json_array_append(ret, found) != 0)
            return no_memory(err);
    }
    return ST_OK;
}

static enum status get_train(const struct task *t, const struct form *form, json_t *ret,
                             struct error *err)
{
    size_t n = (size_t)form->shown.n_shots, n_there = json_array_size(t->train.records);

    if (n_there < n)
        return error_set(err, ST_INVALID, "'%s': %zu records, at least %zu are needed", train_name,
                         n_there, n);
    for (size_t i = 0; i < n; i++)
        if (json_array_append(ret, json_array_get(t->train.records, i)) != 0)
            return no_memory(err);
    return ST_OK;
}

/* Say which form needs what was not found, and which forms do without. */
static enum status explain_missing(const struct task *t, const struct form *form, struct error *err)
{
    struct buf others = { 0 };
    const struct task_form *f;
    struct error cause = *err;

    for (size_t i = 0; (f = task_form_get(t->def, i)) != NULL; i++)
        if (form_find(t->def, f->name)->examples == EXAMPLES_NONE)
            buf_printf(&others, "%s%s", others.len ? ", " : "", f->name);
    error_set(err, ST_NOT_FOUND, "%s: prompt form '%s' of task '%s' needs it; %s do not",
              cause.text, form->shown.name, t->def->name, buf_str(&others));
    buf_release(&others);
    return ST_NOT_FOUND;
}

enum status examples_get(const struct task *t, const struct form *form, json_t **ret,
                         struct error *err)
{
    const struct examples_file *file = form->examples == EXAMPLES_FEWSHOT ? &t->fewshot
                                       : form->examples == EXAMPLES_TRAIN ? &t->train
                                                                          : NULL;
    struct error unused = { 0 };
    json_t *list = json_array();
    enum status st;

    err = err ? err : &unused;
    if (!list)
        return no_memory(err);
    if (file && !file->records)
        st = error_set(err, file->error.status, "%s", file->error.text);
    else if (form->examples == EXAMPLES_FEWSHOT)
        st = get_fewshot(t, form, list, err);
    else if (form->examples == EXAMPLES_RECORDS)
        st = get_records(t, form, list, err);
    else if (form->examples == EXAMPLES_TRAIN)
        st = get_train(t, form, list, err);
    else
        st = ST_OK;
    if (!st) {
        *ret = list;
        return ST_OK;
    }
    json_decref(list);
    return st == ST_NOT_FOUND ? explain_missing(t, form, err) : st;
}
