/* Where things lie. */
#include "harness/paths.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"

static enum status no_memory(struct error *err)
{
    return error_set(err, ST_NOMEM, "out of memory making a path");
}

/* Folder of the running executable, without a final slash. */
static enum status exe_dir(struct arena *a, char **ret, struct error *err)
{
    char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
    char *slash;

    if (n <= 0)
        return error_set(err, ST_IO, "cannot read '/proc/self/exe': %s", strerror(errno));
    path[n] = '\0';
    slash = strrchr(path, '/');
    if (slash)
        *slash = '\0';
    *ret = arena_strdup(a, path, strlen(path));
    return *ret ? ST_OK : no_memory(err);
}

enum status path_share(struct arena *a, const char **ret, struct error *err)
{
    struct buf text = { 0 };
    char *dir, *marker, *share;
    enum status st = exe_dir(a, &dir, err);

    if (st)
        return st;
    marker = arena_printf(a, "%s/desbench.share", dir);
    share = arena_printf(a, "%s/../share/desbench", dir);
    if (!marker || !share)
        return no_memory(err);
    if (file_exists(marker)) {
        st = file_read(marker, PATH_MAX, &text, err);
        if (!st) {
            share = arena_strdup(a, buf_str(&text), strcspn(buf_str(&text), "\n"));
            if (!share)
                st = no_memory(err);
        }
        buf_release(&text);
        if (st)
            return st;
    }
    if (!file_is_dir(share))
        return error_set(err, ST_NOT_FOUND,
                         "the program's own files are not at '%s' (named by '%s' or beside the "
                         "installed program)",
                         share, marker);
    *ret = share;
    return ST_OK;
}

/* An absolute path from the environment, or NULL. */
static const char *env_dir(const char *name)
{
    const char *dir = getenv(name);

    return dir && *dir == '/' ? dir : NULL;
}

enum status path_data_dir(const struct options *c, struct arena *a, const char **ret,
                          struct error *err)
{
    const char *dir = options_text(c, OPT_DATA_DIR), *base;

    if (!dir && (base = env_dir("XDG_DATA_HOME")))
        dir = arena_printf(a, "%s/desbench/data", base);
    else if (!dir && (base = env_dir("HOME")))
        dir = arena_printf(a, "%s/.local/share/desbench/data", base);
    else if (!dir)
        return error_set(err, ST_NOT_FOUND,
                         "no data folder: HOME is not set; name one with --data-dir or "
                         "DESBENCH_DATA");
    if (!dir)
        return no_memory(err);
    *ret = dir;
    return ST_OK;
}

enum status path_task_dir(const struct options *c, const struct task_def *def, struct arena *a,
                          const char **ret, struct error *err)
{
    const char *dir;
    enum status st;

    if (def->is_bundled) {
        st = path_share(a, &dir, err);
        if (st)
            return st;
        *ret = arena_printf(a, "%s/tasks", dir);
        return *ret ? ST_OK : no_memory(err);
    }
    st = path_data_dir(c, a, &dir, err);
    if (st)
        return error_prefix(err, st, "task '%s' needs the file '%s'", def->name, def->file);
    if (!file_is_dir(dir) && options_has(c, OPT_DATA_DIR))
        return error_set(err, ST_NOT_FOUND, "data folder '%s' (--data-dir) does not exist", dir);
    if (!file_is_dir(dir))
        return error_set(err, ST_NOT_FOUND,
                         "task '%s' needs the file '%s' (%s): `desbench data fetch` gets it into "
                         "'%s'; --data-dir or DESBENCH_DATA names another folder",
                         def->name, def->file, task_source(def), dir);
    *ret = dir;
    return ST_OK;
}

enum status path_model(const char *name, struct arena *a, const char **ret, struct error *err)
{
    static const char *const places[] = { "models", "models/shapes" };
    const char *share;
    enum status st;

    if (file_is_dir(name)) {
        *ret = name;
        return ST_OK;
    }
    if (!strchr(name, '/')) {
        st = path_share(a, &share, err);
        if (st)
            return st;
        for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
            char *config = arena_printf(a, "%s/%s/%s/config.json", share, places[i], name);
            char *dir = arena_printf(a, "%s/%s/%s", share, places[i], name);

            if (!config || !dir)
                return no_memory(err);
            if (file_exists(config)) {
                *ret = dir;
                return ST_OK;
            }
        }
    }
    return error_set(err, ST_NOT_FOUND,
                     "model '%s' is neither a folder nor a bundled model; `desbench ls models` "
                     "lists those",
                     name);
}

enum status path_plan(const char *name, struct arena *a, const char **ret, struct error *err)
{
    static const char *const endings[] = { "", ".yaml" };
    const char *share;
    enum status st;

    if (file_exists(name)) {
        *ret = name;
        return ST_OK;
    }
    if (!strchr(name, '/')) {
        st = path_share(a, &share, err);
        if (st)
            return st;
        for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
            char *path = arena_printf(a, "%s/plans/%s%s", share, name, endings[i]);

            if (!path)
                return no_memory(err);
            if (file_exists(path)) {
                *ret = path;
                return ST_OK;
            }
        }
    }
    return error_set(err, ST_NOT_FOUND, "plan '%s' is neither a file nor a bundled plan", name);
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);

    return n >= m && strcmp(s + n - m, end) == 0;
}

enum status path_results(const struct options *c, bool is_made, struct arena *a, const char **ret,
                         struct error *err)
{
    const char *out = options_text(c, options_has(c, OPT_RESULTS) ? OPT_RESULTS : OPT_OUTPUT);
    bool is_file = !file_is_dir(out) &&
                   (ends_with(out, ".sqlite") || ends_with(out, ".db") || file_exists(out));
    const char *slash = strrchr(out, '/'), *dir = is_file ? NULL : out;
    enum status st;

    if (is_file && slash && slash != out) {
        dir = arena_strdup(a, out, (size_t)(slash - out));
        if (!dir)
            return no_memory(err);
    }
    if (dir && is_made) {
        st = file_make_dirs(dir, err);
        if (st)
            return st;
    }
    *ret = is_file ? out : arena_printf(a, "%s/results.sqlite", out);
    return *ret ? ST_OK : no_memory(err);
}
