/* SHA-256 of a checkpoint, kept in the user's cache. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/log.h"
#include "engine/safetensors_impl.h"

enum {
    CACHE_MIN_BYTES = 32 << 20,  /* below, hashing is quicker than a cache is worth */
    HASH_CHUNK_BYTES = 16 << 20, /* between two looks for a stop */
    HASH_NOTICE_BYTES = 1 << 30, /* from here on it takes seconds */
};

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

/* False when stopped. */
static bool add_shard(struct sha256 *h, const struct shard *f, const volatile sig_atomic_t *n_stops)
{
    const unsigned char *p = f->map;

    for (size_t left = (size_t)f->sb.st_size, n; left; left -= n, p += n) {
        if (n_stops && *n_stops)
            return false;
        n = left < HASH_CHUNK_BYTES ? left : HASH_CHUNK_BYTES;
        sha256_add(h, p, n);
    }
    return true;
}

enum status safetensors_sha256(const struct safetensors *s, const volatile sig_atomic_t *n_stops,
                               char ret[65], struct error *err)
{
    struct buf path = { 0 };
    struct sha256 *h = NULL;
    size_t total = 0; /* of what is mapped, so it does not overflow */
    enum status st = ST_OK;

    for (size_t i = 0; i < s->n_shards; i++)
        total += (size_t)s->shards[i].sb.st_size;
    if (total >= CACHE_MIN_BYTES)
        st = cache_path(s, &path, err);
    if (st || (path.len && read_cached(buf_str(&path), ret)))
        goto out;
    if (total >= HASH_NOTICE_BYTES)
        log_info("hashing %.1f GB of weights (kept for the next time)", (double)total * 1e-9);
    h = sha256_new();
    if (!h) {
        st = error_set(err, ST_NOMEM, "out of memory hashing weights");
        goto out;
    }
    for (size_t i = 0; i < s->n_shards && !st; i++)
        if (!add_shard(h, &s->shards[i], n_stops))
            st = error_set(err, ST_INTERRUPTED, "interrupted hashing weights");
    sha256_finish(h, ret);
    if (!st && path.len)
        write_cached(path.data, ret);
out:
    buf_release(&path);
    return st;
}
