/* One safetensors file: mapping it and checking every rule of the format. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/json.h"
#include "base/size.h"
#include "engine/safetensors_impl.h"

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "tensors are mapped as they lie on disk");

#define HEADER_MAX_BYTES ((uint64_t)100000000) /* as huggingface/safetensors has it */

static const char metadata_key[] = "__metadata__";

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
    st = check_contiguous(s->tensors + first, s->n - first, data, n_data, f->path, err);
    for (size_t i = first; i < s->n && !st; i++)
        st = align(&s->tensors[i], f->path, err);
    return st;
}

enum status shard_open(struct safetensors *s, size_t i_shard, struct error *err)
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
