/* Checkpoints in the safetensors format: a single file, or shards with an index. */
#include "engine/safetensors.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/file.h"
#include "base/json.h"
#include "engine/safetensors_impl.h"

enum { INDEX_MAX_BYTES = 100000000 };

static int by_name(const void *a, const void *b)
{
    const struct tensor *x = a, *y = b;

    return strcmp(x->name, y->name);
}

static char *join(const char *dir, const char *file)
{
    char *path = NULL;

    return asprintf(&path, "%s/%s", dir, file) < 0 ? NULL : path;
}

static enum status add_shard(struct safetensors *s, char *path, struct error *err)
{
    struct shard *p = NULL;

    if (path)
        p = realloc(s->shards, (s->n_shards + 1) * sizeof(*p));
    if (!p) {
        free(path);
        return error_set(err, ST_NOMEM, "out of memory opening a checkpoint");
    }
    s->shards = p;
    p[s->n_shards++] = (struct shard){ .path = path };
    return ST_OK;
}

/* A shard is a file beside its index: no path. */
static bool is_file_name(const char *s)
{
    return *s && !strchr(s, '/') && !strchr(s, '\\') && strcmp(s, ".") != 0 && strcmp(s, "..") != 0;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The file names of weight_map, each once, in order, as shards of s. */
static enum status list_shards(struct safetensors *s, const char *dir, const char *index,
                               json_t *map, struct error *err)
{
    size_t n = 0, n_all = json_object_size(map);
    const char **names = calloc(n_all ? n_all : 1, sizeof(*names)), *key;
    enum status st = ST_OK;
    json_t *v;

    if (!names)
        return error_set(err, ST_NOMEM, "out of memory reading '%s'", index);
    json_object_foreach(map, key, v)
    {
        st = json_get_str(map, index, key, &names[n], NULL, err);
        if (!st && !is_file_name(names[n]))
            st = error_set(err, ST_INVALID,
                           "'%s': tensor '%.100s' is said to be in '%.100s', which "
                           "is not a file name",
                           index, key, names[n]);
        if (st)
            goto out;
        n++;
    }
    if (!n) {
        st = error_set(err, ST_INVALID, "'%s': weight_map is empty", index);
        goto out;
    }
    qsort(names, n, sizeof(*names), by_text);
    for (size_t i = 0; i < n && !st; i++)
        if (i == 0 || strcmp(names[i], names[i - 1]) != 0)
            st = add_shard(s, join(dir, names[i]), err);
out:
    free(names);
    return st;
}

/* weight_map and the shards' headers say the same. */
static enum status check_index(const struct safetensors *s, const char *index, const json_t *root,
                               json_t *map, struct error *err)
{
    const json_t *meta = json_object_get(root, "metadata"), *total;
    const char *key;
    json_t *v;

    for (size_t i = 0; i < s->n; i++) {
        const struct tensor *t = &s->tensors[i];
        const char *path = s->shards[t->i_shard].path, *file = strrchr(path, '/') + 1;
        const json_t *said = json_object_get(map, t->name);

        if (!said)
            return error_set(err, ST_INVALID, "'%s': tensor '%.100s' of '%s' is not in weight_map",
                             index, t->name, path);
        if (strcmp(json_string_value(said), file) != 0)
            return error_set(err, ST_INVALID,
                             "'%s': tensor '%.100s' is in '%s', weight_map says "
                             "'%.100s'",
                             index, t->name, path, json_string_value(said));
    }
    json_object_foreach(map, key, v)
    {
        if (!safetensors_find(s, key))
            return error_set(err, ST_INVALID, "'%s': tensor '%.100s' is not in '%.100s'", index,
                             key, json_string_value(v));
    }
    if (meta && !json_is_object(meta))
        return error_set(err, ST_INVALID, "'%s': metadata is not an object", index);
    total = json_object_get(meta, "total_size");
    if (total && (!json_is_number(total) || json_number_value(total) != (double)s->bytes))
        return error_set(err, ST_INVALID, "'%s': total_size is %.0f, the tensors have %zu bytes",
                         index, json_number_value(total), s->bytes);
    return ST_OK;
}

static enum status check_duplicates(const struct safetensors *s, struct error *err)
{
    for (size_t i = 1; i < s->n; i++) {
        const struct tensor *a = &s->tensors[i - 1], *b = &s->tensors[i];

        if (strcmp(a->name, b->name) == 0)
            return error_set(err, ST_INVALID, "tensor '%.100s' is in '%s' and in '%s'", a->name,
                             s->shards[a->i_shard].path, s->shards[b->i_shard].path);
    }
    return ST_OK;
}

static enum status open_shards(struct safetensors *s, struct error *err)
{
    for (size_t i = 0; i < s->n_shards; i++) {
        enum status st = shard_open(s, i, err);
        if (st)
            return st;
    }
    if (s->n)
        qsort(s->tensors, s->n, sizeof(*s->tensors), by_name);
    return check_duplicates(s, err);
}

static enum status open_index(struct safetensors *s, const char *dir, const char *index,
                              struct error *err)
{
    json_t *root = NULL, *map = NULL;
    enum status st = json_read(index, INDEX_MAX_BYTES, &root, err);

    if (!st)
        st = json_get_object(root, index, "weight_map", &map, err);
    if (!st)
        st = list_shards(s, dir, index, map, err);
    if (!st)
        st = open_shards(s, err);
    if (!st)
        st = check_index(s, index, root, map, err);
    json_decref(root);
    return st;
}

enum status safetensors_open_dir(const char *dir, struct safetensors **ret, struct error *err)
{
    struct safetensors *s = calloc(1, sizeof(*s));
    char *single = join(dir, "model.safetensors");
    char *index = join(dir, "model.safetensors.index.json");
    enum status st;

    if (!s || !single || !index) {
        st = error_set(err, ST_NOMEM, "out of memory opening '%s'", dir);
    } else if (file_exists(single)) {
        st = add_shard(s, single, err);
        single = NULL; /* owned by s, or freed */
        if (!st)
            st = open_shards(s, err);
    } else if (file_exists(index)) {
        st = open_index(s, dir, index, err);
    } else {
        st = error_set(err, ST_NOT_FOUND,
                       "no weights in '%s': neither model.safetensors nor "
                       "model.safetensors.index.json is there",
                       dir);
    }
    if (!st) {
        *ret = s;
        s = NULL;
    }
    safetensors_close(s);
    free(single);
    free(index);
    return st;
}

enum status safetensors_open_file(const char *path, struct safetensors **ret, struct error *err)
{
    struct safetensors *s = calloc(1, sizeof(*s));
    char *copy = strdup(path);
    enum status st;

    if (!s || !copy) {
        free(copy);
        st = error_set(err, ST_NOMEM, "out of memory opening '%s'", path);
    } else {
        st = add_shard(s, copy, err);
    }
    if (!st)
        st = open_shards(s, err);
    if (!st) {
        *ret = s;
        s = NULL;
    }
    safetensors_close(s);
    return st;
}

void safetensors_close(struct safetensors *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->n; i++) {
        free(s->tensors[i].copy);
        free((char *)(uintptr_t)s->tensors[i].name);
    }
    for (size_t i = 0; i < s->n_shards; i++) {
        struct shard *f = &s->shards[i];

        if (f->map)
            munmap((void *)(uintptr_t)f->map, (size_t)f->sb.st_size);
        free(f->path);
    }
    free(s->tensors);
    free(s->shards);
    free(s);
}

/* ---- looking at it ---------------------------------------------------------------------- */

size_t safetensors_count(const struct safetensors *s)
{
    return s->n;
}

const struct tensor *safetensors_at(const struct safetensors *s, size_t i)
{
    assert(i < s->n);
    return &s->tensors[i];
}

const struct tensor *safetensors_find(const struct safetensors *s, const char *name)
{
    const struct tensor key = { .name = name };

    return s->n ? bsearch(&key, s->tensors, s->n, sizeof(key), by_name) : NULL;
}

size_t safetensors_bytes(const struct safetensors *s)
{
    return s->bytes;
}

size_t safetensors_n_shards(const struct safetensors *s)
{
    return s->n_shards;
}

const char *safetensors_shard_path(const struct safetensors *s, size_t i_shard)
{
    assert(i_shard < s->n_shards);
    return s->shards[i_shard].path;
}

enum status safetensors_check_files(const struct safetensors *s, struct error *err)
{
    for (size_t i = 0; i < s->n_shards; i++) {
        const struct shard *f = &s->shards[i];
        struct stat sb;

        if (stat(f->path, &sb) != 0)
            return error_set(err, ST_IO, "'%s' went away while it was read: %s", f->path,
                             strerror(errno));
        if (sb.st_size != f->sb.st_size || sb.st_ino != f->sb.st_ino)
            return error_set(err, ST_IO, "'%s' changed while it was read", f->path);
    }
    return ST_OK;
}
