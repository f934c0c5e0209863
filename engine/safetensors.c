/* Checkpoints in the safetensors format: mapping and validation. */
#include "engine/safetensors.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/size.h"

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "tensors are mapped as they lie on disk");

#define HEADER_MAX_BYTES ((uint64_t)100000000) /* as huggingface/safetensors has it */
enum { INDEX_MAX_BYTES = 100000000, HASH_NOTICE_BYTES = 1 << 30 };

static const char metadata_key[] = "__metadata__";

struct shard {
    char *path;
    const unsigned char *map; /* whole file */
    struct stat sb;           /* at open */
    size_t n_tensors;
};

struct safetensors {
    struct shard *shards; /* in order of file name */
    size_t n_shards;
    struct tensor *tensors; /* in order of name */
    size_t n, cap;
    size_t bytes;
};

/* ---- one file --------------------------------------------------------------------------- */

static enum status map_shard(struct shard *f, struct error *err)
{
    enum status st = ST_OK;
    void *p;
    int fd = open(f->path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return error_set(err, errno == ENOENT || errno == ENOTDIR ? ST_NOT_FOUND : ST_IO,
                         "cannot open '%s': %s", f->path, strerror(errno));
    if (fstat(fd, &f->sb) != 0) {
        st = error_set(err, ST_IO, "cannot read '%s': %s", f->path, strerror(errno));
    } else if (!S_ISREG(f->sb.st_mode)) {
        st = error_set(err, ST_INVALID, "'%s' is not a regular file", f->path);
    } else if (f->sb.st_size < 8) {
        st = error_set(err, ST_INVALID, "'%s': %lld bytes are too few for a safetensors file",
                       f->path, (long long)f->sb.st_size);
    } else {
        p = mmap(NULL, (size_t)f->sb.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED)
            st = error_set(err, ST_IO, "cannot map '%s': %s", f->path, strerror(errno));
        else
            f->map = p;
    }
    close(fd);
    return st;
}

static enum status read_dtype(const char *where, const char *name, enum dtype *ret,
                              struct error *err)
{
    static const struct {
        const char *name;
        enum dtype dtype;
    } known[] = { { "F32", DT_F32 }, { "BF16", DT_BF16 }, { "F16", DT_F16 } };

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (strcmp(known[i].name, name) == 0) {
            *ret = known[i].dtype;
            return ST_OK;
        }
    return error_set(err, ST_UNSUPPORTED, "%s: dtype '%.40s' is not supported (F32, BF16, F16 are)",
                     where, name);
}

/* shape: dims and, in *ret_bytes, their product times the element size. */
static enum status read_shape(const json_t *v, const char *where, struct tensor *t,
                              size_t *ret_bytes, struct error *err)
{
    json_t *shape = NULL;
    size_t bytes = dtype_size(t->dtype);
    enum status st = json_get_array(v, where, "shape", &shape, err);

    if (st)
        return st;
    if (json_array_size(shape) > SAFETENSORS_MAX_DIMS)
        return error_set(err, ST_UNSUPPORTED, "%s: %zu dimensions are more than %d", where,
                         json_array_size(shape), SAFETENSORS_MAX_DIMS);
    t->n_dims = (int)json_array_size(shape);
    for (int i = 0; i < t->n_dims; i++) {
        const json_t *d = json_array_get(shape, (size_t)i);

        if (!json_is_integer(d) || json_integer_value(d) < 0)
            return error_set(err, ST_INVALID, "%s: dimension %d of its shape is not a size", where,
                             i);
        t->shape[i] = json_integer_value(d);
        if (!size_mul(bytes, (size_t)t->shape[i], &bytes))
            return error_set(err, ST_INVALID, "%s: the product of its shape overflows", where);
    }
    *ret_bytes = bytes;
    return ST_OK;
}

/* data_offsets: [begin, end), within n_data bytes. */
static enum status read_offsets(const json_t *v, const char *where, size_t n_data,
                                size_t *ret_begin, size_t *ret_end, struct error *err)
{
    json_t *a = NULL;
    size_t x[2];
    enum status st = json_get_array(v, where, "data_offsets", &a, err);

    if (st)
        return st;
    if (json_array_size(a) != 2)
        return error_set(err, ST_INVALID, "%s: data_offsets needs 2 numbers, found %zu", where,
                         json_array_size(a));
    for (size_t i = 0; i < 2; i++) {
        const json_t *d = json_array_get(a, i);

        if (!json_is_integer(d) || json_integer_value(d) < 0 ||
            (uint64_t)json_integer_value(d) > n_data)
            return error_set(err, ST_INVALID,
                             "%s: data_offsets[%zu] is not within the %zu bytes of "
                             "data",
                             where, i, n_data);
        x[i] = (size_t)json_integer_value(d);
    }
    if (x[0] > x[1])
        return error_set(err, ST_INVALID, "%s: data_offsets %zu > %zu", where, x[0], x[1]);
    *ret_begin = x[0];
    *ret_end = x[1];
    return ST_OK;
}

static enum status read_tensor(const char *name, const json_t *v, const char *path, size_t n_data,
                               const unsigned char *data, struct tensor *ret, struct error *err)
{
    struct error where;
    const char *dtype = NULL, *key;
    size_t begin = 0, end = 0, bytes = 0;
    struct tensor t = { 0 };
    json_t *sub, *obj = (json_t *)(uintptr_t)v; /* jansson's iterators take no const */
    enum status st;

    error_set(&where, ST_OK, "'%s' tensor '%.100s'", path, name);
    st = json_get_str(v, where.text, "dtype", &dtype, NULL, err);
    if (st)
        return st;
    json_object_foreach(obj, key, sub)
    {
        if (strcmp(key, "dtype") != 0 && strcmp(key, "shape") != 0 &&
            strcmp(key, "data_offsets") != 0)
            return error_set(err, ST_INVALID, "%s: unknown field '%.60s'", where.text, key);
    }
    st = read_dtype(where.text, dtype, &t.dtype, err);
    if (!st)
        st = read_shape(v, where.text, &t, &bytes, err);
    if (!st)
        st = read_offsets(v, where.text, n_data, &begin, &end, err);
    if (st)
        return st;
    if (end - begin != bytes)
        return error_set(err, ST_INVALID, "%s: its shape needs %zu bytes, data_offsets span %zu",
                         where.text, bytes, end - begin);
    t.bytes = bytes;
    t.data = data + begin;
    *ret = t;
    return ST_OK;
}

static int by_address(const void *a, const void *b)
{
    const struct tensor *x = a, *y = b;
    uintptr_t p = (uintptr_t)x->data, q = (uintptr_t)y->data;

    if (p != q)
        return p < q ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes); /* empty ones first */
}

static int by_name(const void *a, const void *b)
{
    const struct tensor *x = a, *y = b;

    return strcmp(x->name, y->name);
}

/* The data of a file's tensors, one after the other, are its data: no gap, no overlap. */
static enum status check_contiguous(struct tensor *t, size_t n, const unsigned char *data,
                                    size_t n_data, const char *path, struct error *err)
{
    const unsigned char *at = data;

    qsort(t, n, sizeof(*t), by_address);
    for (size_t i = 0; i < n; i++) {
        const unsigned char *p = t[i].data;

        if (p != at)
            return error_set(err, ST_INVALID,
                             "'%s' tensor '%.100s': data begin at %zu, the data "
                             "before it end at %zu",
                             path, t[i].name, (size_t)(p - data), (size_t)(at - data));
        at += t[i].bytes;
    }
    if ((size_t)(at - data) != n_data)
        return error_set(err, ST_INVALID, "'%s': tensors end at byte %zu of %zu bytes of data",
                         path, (size_t)(at - data), n_data);
    return ST_OK;
}

static enum status check_metadata(const json_t *v, const char *path, struct error *err)
{
    json_t *obj = (json_t *)(uintptr_t)v, *sub; /* jansson's iterators take no const */
    const char *key;

    if (!json_is_object(v))
        return error_set(err, ST_INVALID, "'%s': '%s' is not an object", path, metadata_key);
    json_object_foreach(obj, key, sub)
    {
        if (!json_is_string(sub))
            return error_set(err, ST_INVALID, "'%s': '%s' field '%.60s' is not a string", path,
                             metadata_key, key);
    }
    return ST_OK;
}

static enum status grow(struct safetensors *s, size_t more, const char *path, struct error *err)
{
    struct tensor *p;
    size_t cap, bytes;

    if (!size_add(s->n, more, &cap) || !size_mul(cap ? cap : 1, sizeof(*p), &bytes) ||
        !(p = realloc(s->tensors, bytes)))
        return error_set(err, ST_NOMEM, "out of memory for the %zu tensors of '%s'", more, path);
    s->tensors = p;
    s->cap = cap;
    return ST_OK;
}

/* A tensor that does not lie at a multiple of its element size is copied to where it does. */
static enum status align(struct tensor *t, const char *path, struct error *err)
{
    void *copy;

    if ((uintptr_t)t->data % dtype_size(t->dtype) == 0)
        return ST_OK;
    copy = malloc(t->bytes ? t->bytes : 1);
    if (!copy)
        return error_set(err, ST_NOMEM, "out of memory aligning the %zu bytes of '%s' tensor '%s'",
                         t->bytes, path, t->name);
    memcpy(copy, t->data, t->bytes);
    t->data = t->copy = copy;
    return ST_OK;
}

static enum status read_header(struct safetensors *s, size_t i_shard, const json_t *root,
                               size_t header_bytes, struct error *err)
{
    struct shard *f = &s->shards[i_shard];
    const unsigned char *data = f->map + 8 + header_bytes;
    size_t n_data = (size_t)f->sb.st_size - 8 - header_bytes, first = s->n;
    json_t *obj = (json_t *)(uintptr_t)root, *v; /* jansson's iterators take no const */
    const char *key;
    enum status st;

    if (!json_is_object(root))
        return error_set(err, ST_INVALID, "'%s': the header is not a JSON object", f->path);
    st = grow(s, json_object_size(root), f->path, err);
    if (st)
        return st;
    json_object_foreach(obj, key, v)
    {
        struct tensor *t = &s->tensors[s->n];

        if (strcmp(key, metadata_key) == 0) {
            st = check_metadata(v, f->path, err);
            if (st)
                return st;
            continue;
        }
        st = read_tensor(key, v, f->path, n_data, data, t, err);
        if (st)
            return st;
        t->i_shard = i_shard;
        t->name = strdup(key);
        if (!t->name)
            return error_set(err, ST_NOMEM, "out of memory reading '%s'", f->path);
        s->n++;
        s->bytes += t->bytes; /* within the file's size */
    }
    f->n_tensors = s->n - first;
    st = check_contiguous(s->tensors + first, f->n_tensors, data, n_data, f->path, err);
    for (size_t i = first; i < s->n && !st; i++)
        st = align(&s->tensors[i], f->path, err);
    return st;
}

/* Map shard i and append its tensors. */
static enum status open_shard(struct safetensors *s, size_t i_shard, struct error *err)
{
    struct shard *f = &s->shards[i_shard];
    json_t *root = NULL;
    uint64_t n = 0;
    enum status st = map_shard(f, err);

    if (st)
        return st;
    memcpy(&n, f->map, 8);
    if (n > HEADER_MAX_BYTES || n > (uint64_t)f->sb.st_size - 8)
        return error_set(err, ST_INVALID,
                         "'%s': a header of %llu bytes does not fit (file %lld, "
                         "limit %llu)",
                         f->path, (unsigned long long)n, (long long)f->sb.st_size,
                         (unsigned long long)HEADER_MAX_BYTES);
    st = json_parse((const char *)f->map + 8, (size_t)n, f->path, 0, &root, err);
    if (!st)
        st = read_header(s, i_shard, root, (size_t)n, err);
    json_decref(root);
    return st;
}

/* ---- a folder --------------------------------------------------------------------------- */

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
        enum status st = open_shard(s, i, err);
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

/* ---- its hash --------------------------------------------------------------------------- */

/* What the cached sum belongs to, hashed: path, place, size and times of every shard. */
static enum status cache_path(const struct safetensors *s, struct buf *ret, struct error *err)
{
    const char *base = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    char key[SHA256_HEX_SIZE];
    struct buf text = { 0 };
    enum status st = ST_OK;

    for (size_t i = 0; i < s->n_shards; i++) {
        const struct shard *f = &s->shards[i];
        char *real = realpath(f->path, NULL);

        buf_printf(&text, "%s\n%llu %llu %lld %lld.%09ld %lld.%09ld\n", real ? real : f->path,
                   (unsigned long long)f->sb.st_dev, (unsigned long long)f->sb.st_ino,
                   (long long)f->sb.st_size, (long long)f->sb.st_mtim.tv_sec, f->sb.st_mtim.tv_nsec,
                   (long long)f->sb.st_ctim.tv_sec, f->sb.st_ctim.tv_nsec);
        free(real);
    }
    if (!buf_ok(&text))
        st = error_set(err, ST_NOMEM, "out of memory hashing weights");
    if (!st)
        st = sha256_hex(buf_str(&text), text.len, key, err);
    if (!st) {
        if (base && *base == '/')
            buf_printf(ret, "%s/desbench/weights-%s", base, key);
        else if (home && *home == '/')
            buf_printf(ret, "%s/.cache/desbench/weights-%s", home, key);
        if (!buf_ok(ret))
            st = error_set(err, ST_NOMEM, "out of memory hashing weights");
    }
    buf_release(&text);
    return st;
}

static bool read_cached(const char *path, char ret[SHA256_HEX_SIZE])
{
    struct buf b = { 0 };
    bool is_ok = file_read(path, 128, &b, NULL) == ST_OK && b.len == SHA256_HEX_SIZE &&
                 strspn(buf_str(&b), "0123456789abcdef") == SHA256_HEX_SIZE - 1 &&
                 b.data[SHA256_HEX_SIZE - 1] == '\n';

    if (is_ok) {
        memcpy(ret, b.data, SHA256_HEX_SIZE - 1);
        ret[SHA256_HEX_SIZE - 1] = '\0';
    }
    buf_release(&b);
    return is_ok;
}

static void write_cached(char *path, const char sum[SHA256_HEX_SIZE])
{
    char line[SHA256_HEX_SIZE + 1], *slash = strrchr(path, '/');
    struct error err;
    enum status st;

    *slash = '\0';
    st = file_make_dirs(path, &err);
    *slash = '/';
    snprintf(line, sizeof(line), "%s\n", sum);
    if (!st)
        st = file_write_atomic(path, line, SHA256_HEX_SIZE, &err);
    if (st)
        log_debug("hash of weights not cached: %s", err.text);
}

enum status safetensors_sha256(const struct safetensors *s, char ret[65], struct error *err)
{
    struct buf path = { 0 };
    struct sha256 *h = NULL;
    size_t total = 0;
    enum status st = cache_path(s, &path, err);

    if (st)
        goto out;
    if (path.len && read_cached(buf_str(&path), ret))
        goto out;
    for (size_t i = 0; i < s->n_shards; i++)
        total += (size_t)s->shards[i].sb.st_size;
    if (total >= HASH_NOTICE_BYTES)
        log_info("hashing %.1f GB of weights (kept for the next time)", (double)total * 1e-9);
    h = sha256_new();
    if (!h) {
        st = error_set(err, ST_NOMEM, "out of memory hashing weights");
        goto out;
    }
    for (size_t i = 0; i < s->n_shards; i++)
        sha256_add(h, s->shards[i].map, (size_t)s->shards[i].sb.st_size);
    sha256_finish(h, ret);
    if (path.len)
        write_cached(path.data, ret);
out:
    buf_release(&path);
    return st;
}
