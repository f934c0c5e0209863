/* `bench show`: the tables of records that earlier runs of the verb wrote with --json. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "harness/bench.h"

#define MAX_RECORD_BYTES ((size_t)64 << 20)
#define MAX_THREADS 4096

/* A copy of a member that is a text. */
static enum status copy_text(const json_t *obj, const char *where, const char *key, struct arena *a,
                             const char **ret, struct error *err)
{
    const char *text = NULL;
    enum status st = json_get_str(obj, where, key, &text, NULL, err);

    if (!st)
        *ret = arena_strdup(a, text, strlen(text));
    return st || *ret ? st : error_set(err, ST_NOMEM, "out of memory reading '%s'", where);
}

/* A number that an older or another kind of record may lack: then 0. */
static enum status number_if_any(const json_t *obj, const char *where, const char *key, double *ret,
                                 struct error *err)
{
    *ret = 0;
    return json_object_get(obj, key) ? json_get_num(obj, where, key, ret, err) : ST_OK;
}

/* The options of the command line, as they would be given again. */
static enum status read_command(const json_t *root, const char *where, struct bench *b,
                                struct error *err)
{
    json_t *options = NULL, *option;
    struct buf command = { 0 };
    const char *name;
    enum status st = json_get_object(root, where, "options", &options, err);

    if (st)
        return st;
    buf_printf(&command, "desbench bench %s", b->what);
    json_object_foreach(options, name, option)
    {
        const json_t *value = json_object_get(option, "value"), *one;
        const char *source = json_string_value(json_object_get(option, "source"));
        size_t i;

        if (!value || !source || strcmp(source, "command line") != 0)
            continue;
        if (!strcmp(name, "json") || !strcmp(name, "format") || !strcmp(name, "quiet"))
            continue;
        if (!json_is_array(value)) {
            buf_printf(&command, " --%s", name);
            if (json_is_string(value))
                buf_printf(&command, " %s", json_string_value(value));
            else if (!json_is_true(value)) {
                buf_putc(&command, ' ');
                json_put_value(&command, value, JSON_ENCODE_ANY);
            }
            continue;
        }
        json_array_foreach(value, i, one) if (json_is_string(one))
            buf_printf(&command, " --%s %s", name, json_string_value(one));
    }
    b->command = buf_ok(&command) ? arena_strdup(&b->arena, buf_str(&command), command.len) : NULL;
    buf_release(&command);
    return b->command ? ST_OK : error_set(err, ST_NOMEM, "out of memory reading '%s'", where);
}

/* The ceilings of the machine. */
static enum status read_machine(const json_t *root, const char *where, struct bench *b,
                                struct error *err)
{
    json_t *rates = NULL, *peaks = NULL, *gpu = json_object_get(root, "gpu"), *peak;
    const char *isa;
    enum status st = json_get_array(root, where, "read_bytes_per_s", &rates, err);

    if (!st)
        st = json_get_object(root, where, "flops_per_s", &peaks, err);
    if (!st)
        st = json_get_num(root, where, "load_average_before", &b->load_before, err);
    if (!st && gpu)
        st = json_get_num(gpu, where, "read_bytes_per_s", &b->gpu_read_rate, err);
    if (!st && gpu)
        st = json_get_num(gpu, where, "copy_bytes_per_s", &b->gpu_copy_rate, err);
    if (st)
        return st;
    if (json_array_size(rates) > MAX_THREADS || json_object_size(peaks) > LIMIT_MAX_ISAS)
        return error_set(err, ST_INVALID, "%s: rates of %zu threads and %zu instruction sets",
                         where, json_array_size(rates), json_object_size(peaks));
    b->n_threads = (int)json_array_size(rates);
    b->read_rates = arena_array(&b->arena, (size_t)b->n_threads + 1, sizeof(double));
    if (!b->read_rates)
        return error_set(err, ST_NOMEM, "out of memory reading '%s'", where);
    for (int i = 0; i < b->n_threads; i++) {
        const json_t *rate = json_array_get(rates, (size_t)i);

        if (!json_is_number(rate))
            return error_set(err, ST_INVALID, "%s: 'read_bytes_per_s' number %d is no number",
                             where, i);
        b->read_rates[i] = json_number_value(rate);
    }
    json_object_foreach(peaks, isa, peak)
    {
        if (!json_is_number(peak))
            return error_set(err, ST_INVALID, "%s: 'flops_per_s' of '%s' is no number", where, isa);
        b->isas[b->n_isas] = arena_strdup(&b->arena, isa, strlen(isa));
        if (!b->isas[b->n_isas])
            return error_set(err, ST_NOMEM, "out of memory reading '%s'", where);
        b->peaks[b->n_isas++] = json_number_value(peak);
    }
    return ST_OK;
}

static enum status read_result(const json_t *obj, const char *where, struct bench *b,
                               struct error *err)
{
    struct bench_result *r;
    json_t *samples = NULL;
    double n_tokens = 0;
    enum status st;

    if (b->n_results == BENCH_MAX_RESULTS)
        return error_set(err, ST_INVALID, "%s: more than %d results", where,
                         (int)BENCH_MAX_RESULTS);
    r = &b->results[b->n_results];
    st = copy_text(obj, where, "name", &b->arena, &r->name, err);
    if (!st)
        st = copy_text(obj, where, "shape", &b->arena, &r->shape, err);
    if (!st)
        st = json_get_num(obj, where, "bytes", &r->bytes, err);
    if (!st)
        st = json_get_num(obj, where, "flops", &r->flops, err);
    if (!st)
        st = json_get_num(obj, where, "floor_ns", &r->floor_ns, err);
    if (!st)
        st = number_if_any(obj, where, "unique_experts", &r->n_unique, err);
    if (!st)
        st = number_if_any(obj, where, "n_tokens", &n_tokens, err);
    if (!st)
        st = json_get_array(obj, where, "samples_ns", &samples, err);
    if (st)
        return st;
    if (json_array_size(samples) == 0 || json_array_size(samples) > BENCH_MAX_SAMPLES)
        return error_set(err, ST_INVALID, "%s: '%s' has %zu samples, not 1 .. %d", where, r->name,
                         json_array_size(samples), (int)BENCH_MAX_SAMPLES);
    if (!(n_tokens >= 0 && n_tokens < 1e15))
        return error_set(err, ST_INVALID, "%s: 'n_tokens' of '%s' is %g", where, r->name, n_tokens);
    r->n_tokens = (int64_t)n_tokens;
    st = bench_samples(b, r, (int)json_array_size(samples), err);
    for (int i = 0; i < (int)json_array_size(samples) && !st; i++) {
        const json_t *v = json_array_get(samples, (size_t)i);

        if (!json_is_integer(v) || json_integer_value(v) <= 0)
            st = error_set(err, ST_INVALID, "%s: sample %d of '%s' is no time in nanoseconds",
                           where, i, r->name);
        else
            r->samples_ns[r->n_samples++] = json_integer_value(v);
    }
    b->n_results++;
    return st;
}

/* "moe-32" of "folder/moe-32.json". */
static const char *record_name(const char *path, struct arena *a)
{
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    size_t len = strlen(base);

    if (len > 5 && strcmp(base + len - 5, ".json") == 0)
        len -= 5;
    return arena_strdup(a, base, len);
}

static enum status read_record(const char *path, struct bench *b, struct error *err)
{
    struct model_info *info = arena_array(&b->arena, 1, sizeof(*info));
    const char *where = arena_printf(&b->arena, "file '%s'", path);
    json_t *root = NULL, *results = NULL, *result;
    const char *name = NULL, *date = NULL;
    const struct {
        const char *key, **ret;
    } texts[] = {
        { "bench", &b->what },      { "date", &date },  { "commit", &b->commit },
        { "backend", &b->backend }, { "model", &name }, { "backend_details", &b->details }
    };
    int64_t n_layer = 0;
    size_t i;
    enum status st;

    b->record = record_name(path, &b->arena);
    if (!info || !where || !b->record)
        return error_set(err, ST_NOMEM, "out of memory reading '%s'", path);
    b->info = info;
    st = json_read(path, MAX_RECORD_BYTES, &root, err);
    if (st)
        return st;
    if (!json_is_object(root) || !json_object_get(root, "bench"))
        st = error_set(err, ST_INVALID, "%s is not what `desbench bench ... --json` writes", where);
    for (size_t t = 0; t < sizeof(texts) / sizeof(texts[0]) && !st; t++)
        st = copy_text(root, where, texts[t].key, &b->arena, texts[t].ret, err);
    if (!st && strlen(date) >= sizeof(b->date))
        st = error_set(err, ST_INVALID, "%s: 'date' is no date: '%s'", where, date);
    if (!st)
        memcpy(b->date, date, strlen(date) + 1);
    if (!st)
        st = json_get_int(root, where, "n_layer", 1, 1 << 20, &n_layer, err);
    info->name = name;
    info->n_layer = (int)n_layer;
    if (!st)
        st = read_command(root, where, b, err);
    if (!st)
        st = read_machine(root, where, b, err);
    if (!st)
        st = json_get_array(root, where, "results", &results, err);
    if (!st)
        json_array_foreach(results, i, result)
        {
            st = read_result(result, where, b, err);
            if (st)
                break;
        }
    json_decref(root);
    return st;
}

enum status bench_show(const struct options *c, struct error *err)
{
    const size_t n = c->n_args - 1;
    struct bench *list;
    enum status st = ST_OK;

    if (!n)
        return error_set(err, ST_INVALID,
                         "`bench show` wants records, files of `bench ... --json`");
    list = calloc(n, sizeof(*list));
    if (!list)
        return error_set(err, ST_NOMEM, "out of memory for %zu records", n);
    for (size_t i = 0; i < n && !st; i++) {
        list[i].c = c;
        st = read_record(c->args[i + 1], &list[i], err);
    }
    if (!st)
        st = bench_tables(list, n, "# Records of `desbench bench`", err);
    for (size_t i = 0; i < n; i++)
        arena_release(&list[i].arena);
    free(list);
    return st;
}
