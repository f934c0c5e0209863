/* `desbench data`: which of the public data sets are there, and getting them. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "harness/data_fetch.h"
#include "harness/paths.h"
#include "harness/table.h"
#include "harness/verb.h"

/* What the words behind the verb ask for. */
struct request {
    bool is_fetch;
    const struct data_file **files; /* (n) in table order */
    size_t n;
};

static size_t n_files(void)
{
    size_t n = 0;

    while (data_table()[n])
        n++;
    return n;
}

/* Note the files that a word names: one by its name, or those that a task reads. */
static enum status mark(const char *word, bool *marks, struct error *err)
{
    const struct data_file *const *table = data_table();
    const struct data_file *named[TASK_MAX_FILES] = { data_find(word) };
    const struct task_def *def = task_find(word);
    size_t n = named[0] ? 1 : 0;

    if (!named[0] && def && def->is_bundled)
        return error_set(err, ST_INVALID, "task '%s' comes with the program: it needs no data",
                         word);
    if (!named[0] && def)
        n = task_files(def, named);
    if (n == 0)
        return error_set(err, ST_INVALID,
                         "'%s' is neither a data file nor a task; `desbench data` lists the files",
                         word);
    for (size_t i = 0; table[i]; i++)
        for (size_t k = 0; k < n; k++)
            marks[i] |= table[i] == named[k];
    return ST_OK;
}

static enum status read_request(const struct options *c, struct request *ret, struct error *err)
{
    const struct data_file *const *table = data_table();
    size_t n_all = n_files(), first = 0;
    bool *marks = calloc(n_all, sizeof(*marks));
    enum status st = ST_OK;

    ret->files = calloc(n_all, sizeof(*ret->files));
    if (!marks || !ret->files)
        st = error_set(err, ST_NOMEM, "out of memory listing data");
    if (c->n_args && (strcmp(c->args[0], "fetch") == 0 || strcmp(c->args[0], "status") == 0)) {
        ret->is_fetch = *c->args[0] == 'f';
        first = 1;
    }
    for (size_t i = first; i < c->n_args && !st; i++)
        st = mark(c->args[i], marks, err);
    for (size_t i = 0; i < n_all && !st; i++)
        if (marks[i] || c->n_args == first)
            ret->files[ret->n++] = table[i];
    free(marks);
    return st;
}

static const char *state_name(const struct data_look *look)
{
    static const char *const names[] = {
        [DATA_RIGHT] = "right",
        [DATA_RIGHT_RECORDS] = "right, other layout",
        [DATA_WRONG] = "wrong",
    };

    return look->is_there ? names[look->state] : "missing";
}

/* ---- printing --------------------------------------------------------------------------- */

static void put_addresses(const char *const *addresses, struct buf *b)
{
    buf_putc(b, '[');
    for (size_t i = 0; addresses[i]; i++) {
        if (i)
            buf_putc(b, ',');
        json_put_str(b, addresses[i], strlen(addresses[i]));
    }
    buf_putc(b, ']');
}

static void put_json(const char *dir, const struct request *r, const struct data_look *looks,
                     struct buf *b)
{
    buf_puts(b, "{\"folder\":");
    json_put_str(b, dir, strlen(dir));
    buf_puts(b, ",\"files\":[");
    for (size_t i = 0; i < r->n; i++) {
        const struct data_file *f = r->files[i];

        buf_printf(b, "%s{\"name\":\"%s\",\"title\":\"%s\",\"state\":\"%s\"", i ? "," : "", f->name,
                   f->title, state_name(&looks[i]));
        if (looks[i].is_there)
            buf_printf(b, ",\"bytes\":%" PRId64 ",\"sha256\":\"%s\"", looks[i].bytes,
                       looks[i].sha256);
        buf_printf(b, ",\"pinned_bytes\":%" PRId64 ",\"pinned_sha256\":\"%s\"", f->bytes,
                   f->sha256);
        buf_puts(b, ",\"addresses\":");
        put_addresses(f->addresses, b);
        if (!f->addresses[0]) {
            buf_puts(b, ",\"parts\":[");
            for (size_t k = 0; k < fewshot_n_parts(); k++) {
                buf_printf(b, "%s{\"key\":\"%s\",\"addresses\":", k ? "," : "",
                           fewshot_part(k)->key);
                put_addresses(fewshot_part(k)->addresses, b);
                buf_putc(b, '}');
            }
            buf_putc(b, ']');
        }
        buf_putc(b, '}');
    }
    buf_puts(b, "]}\n");
}

/* False when memory ran out. */
static bool put_text(const char *dir, const struct request *r, const struct data_look *looks,
                     struct buf *b)
{
    struct table t = { 0 };
    bool is_ok;

    table_init(&t, "file|state|>bytes|sha256|from");
    for (size_t i = 0; i < r->n; i++) {
        const struct data_file *f = r->files[i];

        table_row(&t);
        table_cell(&t, "%s", f->name);
        table_cell(&t, "%s", state_name(&looks[i]));
        table_cell(&t, "%" PRId64, looks[i].is_there ? looks[i].bytes : f->bytes);
        table_cell(&t, "%.12s", looks[i].is_there ? looks[i].sha256 : "-");
        if (f->addresses[0])
            table_cell(&t, "%s", f->addresses[0]);
        else
            table_cell(&t, "%zu configuration files (--json names them)", fewshot_n_parts());
    }
    buf_printf(b, "folder %s\n", dir);
    is_ok = table_put(&t, b);
    table_release(&t);
    return is_ok;
}

/* Look at every file and print what is there. *ret_wrong: one of them is not what it should be. */
static enum status print_status(const struct options *c, const char *dir, const struct request *r,
                                bool *ret_wrong, struct error *err)
{
    struct data_look *looks = calloc(r->n + 1, sizeof(*looks));
    struct buf b = { 0 };
    enum status st = looks ? ST_OK : error_set(err, ST_NOMEM, "out of memory listing data");

    for (size_t i = 0; i < r->n && !st; i++) {
        st = data_look(dir, r->files[i], &looks[i], err);
        *ret_wrong |= !st && looks[i].is_there && looks[i].state == DATA_WRONG;
    }
    if (!st && verb_wants_json(c))
        put_json(dir, r, looks, &b);
    else if (!st && !put_text(dir, r, looks, &b))
        st = error_set(err, ST_NOMEM, "out of memory listing data");
    if (!st)
        st = verb_print(&b, err);
    buf_release(&b);
    free(looks);
    return st;
}

/* ---- the verb --------------------------------------------------------------------------- */

static enum status run(const struct options *c, enum exit_code *ret_exit, struct error *err)
{
    struct request r = { 0 };
    struct arena a = { 0 };
    const char *dir;
    bool is_wrong = false;
    enum status st = read_request(c, &r, err);

    if (!st)
        st = path_data_dir(c, &a, &dir, err);
    if (!st && r.is_fetch)
        st = data_fetch(
            &(struct data_fetch_options){ .dir = dir,
                                          .mirror = options_text(c, OPT_MIRROR),
                                          .is_forced = options_flag(c, OPT_FORCE),
                                          .is_offline = options_flag(c, OPT_OFFLINE),
                                          .timeout_s = (int)options_int(c, OPT_NET_TIMEOUT),
                                          .n_retries = (int)options_int(c, OPT_RETRIES),
                                          .progress = options_text(c, OPT_PROGRESS),
                                          .is_quiet = options_flag(c, OPT_QUIET) },
            r.files, r.n, err);
    if (!st)
        st = print_status(c, dir, &r, &is_wrong, err);
    if (!st && is_wrong)
        *ret_exit = EXIT_CHECK_FAILED;
    free(r.files);
    arena_release(&a);
    return st;
}

const struct verb verb_data = {
    .name = "data",
    .bit = VERB_DATA,
    .args = "[status|fetch] [NAME...]",
    .max_args = -1,
    .summary = "list the public data sets, and fetch them",
    .help =
        "`status`, the default, lists the files of the data folder: right, wrong or missing, by\n"
        "their pinned SHA-256, and where each comes from. Exit code 1 if one is wrong.\n"
        "`fetch` gets those that are missing or wrong from upstream's repositories at pinned\n"
        "commits, checks them and only then puts them in place. An interrupted fetch is gone on\n"
        "with by the next. fewshot.json is made of upstream's configuration files.\n"
        "NAME is a file, or a task: the files that it reads.\n\n"
        "  desbench data fetch\n"
        "  desbench data fetch gsm8k math500.jsonl --data-dir ~/data\n"
        "  desbench data fetch --mirror http://localhost:8000      a server with the same paths\n",
    .run = run,
};
