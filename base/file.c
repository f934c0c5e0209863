/* Whole files, gzip and SHA-256: the only file that knows zlib and libcrypto. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

enum { CHUNK = 1 << 16 };

static enum status errno_status(void)
{
    return errno == ENOENT || errno == ENOTDIR ? ST_NOT_FOUND : ST_IO;
}

enum status file_read(const char *path, size_t max_bytes, struct buf *ret, struct error *err)
{
    struct stat sb;
    enum status st = ST_OK;
    int fd;

    buf_clear(ret);
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not make us wait */
    if (fd < 0)
        return error_set(err, errno_status(), "cannot open '%s': %s", path, strerror(errno));
    if (fstat(fd, &sb) != 0) {
        st = error_set(err, ST_IO, "cannot read '%s': %s", path, strerror(errno));
        goto out;
    }
    if (S_ISDIR(sb.st_mode)) {
        st = error_set(err, ST_INVALID, "'%s' is a folder, a file is needed", path);
        goto out;
    }
    if (!S_ISREG(sb.st_mode)) {
        st = error_set(err, ST_INVALID, "'%s' is not a regular file", path);
        goto out;
    }
    for (;;) {
        char *p = buf_reserve(ret, CHUNK);
        ssize_t n;

        if (!p) {
            st = error_set(err, ST_NOMEM, "out of memory reading '%s'", path);
            goto out;
        }
        n = read(fd, p, CHUNK);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            st = error_set(err, ST_IO, "cannot read '%s': %s", path, strerror(errno));
            goto out;
        }
        ret->len += (size_t)n;
        ret->data[ret->len] = '\0';
        if (ret->len > max_bytes) {
            st = error_set(err, ST_INVALID, "'%s' is larger than the limit of %zu bytes", path,
                           max_bytes);
            goto out;
        }
        if (n == 0)
            break;
    }
out:
    close(fd);
    return st;
}

enum status file_gunzip(const void *data, size_t len, const char *name, size_t max_bytes,
                        struct buf *ret, struct error *err)
{
    z_stream z = { 0 };
    enum status st = ST_OK;
    const unsigned char *in = data;
    size_t left = len;
    int rc = Z_OK;

    buf_clear(ret);
    if (inflateInit2(&z, 16 + MAX_WBITS) != Z_OK)
        return error_set(err, ST_NOMEM, "out of memory inflating '%s'", name);
    while (left || z.avail_in || rc != Z_STREAM_END) {
        char *p;

        if (!z.avail_in) {
            uInt n = left > UINT_MAX ? UINT_MAX : (uInt)left;
            z.next_in = (unsigned char *)(uintptr_t)in;
            z.avail_in = n;
            in += n;
            left -= n;
        }
        if (rc == Z_STREAM_END && inflateReset(&z) != Z_OK) {
            st = error_set(err, ST_INTERNAL, "cannot restart inflating '%s'", name);
            break;
        }
        p = buf_reserve(ret, CHUNK);
        if (!p) {
            st = error_set(err, ST_NOMEM, "out of memory inflating '%s'", name);
            break;
        }
        z.next_out = (unsigned char *)p;
        z.avail_out = CHUNK;
        rc = inflate(&z, Z_NO_FLUSH);
        ret->len += CHUNK - z.avail_out;
        ret->data[ret->len] = '\0';
        if (rc != Z_OK && rc != Z_STREAM_END) {
            if (rc == Z_BUF_ERROR && !z.avail_in && !left)
                st = error_set(err, ST_INVALID, "'%s' is a truncated gzip file", name);
            else if (rc == Z_MEM_ERROR)
                st = error_set(err, ST_NOMEM, "out of memory inflating '%s'", name);
            else if (rc != Z_BUF_ERROR)
                st = error_set(err, ST_INVALID, "'%s' is not a valid gzip file: %s", name,
                               z.msg ? z.msg : "data error");
            if (st)
                break;
        }
        if (ret->len > max_bytes) {
            st = error_set(err, ST_INVALID, "'%s' inflates to more than the limit of %zu bytes",
                           name, max_bytes);
            break;
        }
    }
    inflateEnd(&z);
    return st;
}

static enum status write_all(int fd, const char *p, size_t len)
{
    while (len) {
        ssize_t n = write(fd, p, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return ST_IO;
        p += n;
        len -= (size_t)n;
    }
    return ST_OK;
}

enum status file_check_target(const char *path, struct error *err)
{
    struct stat sb;

    if (stat(path, &sb) == 0 && !S_ISREG(sb.st_mode))
        return error_set(err, ST_IO, "'%s' is not a regular file", path);
    return ST_OK;
}

enum status file_write_atomic(const char *path, const void *data, size_t len, struct error *err)
{
    struct buf tmp = { 0 };
    enum status st = file_check_target(path, err);
    int fd = -1;

    if (st)
        return st;
    buf_printf(&tmp, "%s.tmp-%ld", path, (long)getpid());
    if (!buf_ok(&tmp))
        return error_set(err, ST_NOMEM, "out of memory writing '%s'", path);
    fd = open(buf_str(&tmp), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) {
        st = error_set(err, errno_status(), "cannot write '%s': %s", path, strerror(errno));
        goto out;
    }
    if (write_all(fd, data, len) || fsync(fd) != 0) {
        st = error_set(err, ST_IO, "cannot write '%s': %s", path, strerror(errno));
        unlink(buf_str(&tmp));
        goto out;
    }
    if (rename(buf_str(&tmp), path) != 0) {
        st = error_set(err, ST_IO, "cannot replace '%s': %s", path, strerror(errno));
        unlink(buf_str(&tmp));
    }
out:
    if (fd >= 0)
        close(fd);
    buf_release(&tmp);
    return st;
}

/* fsync of a file or folder by its path. */
static bool sync_path(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC);
    bool is_ok = fd >= 0 && fsync(fd) == 0;
    int saved = errno;

    if (fd >= 0)
        close(fd);
    errno = saved;
    return is_ok;
}

enum status file_install(const char *finished, const char *path, struct error *err)
{
    const char *slash = strrchr(path, '/');
    struct buf dir = { 0 };
    enum status st = file_check_target(path, err);

    if (st)
        return st;
    buf_append(&dir, slash ? path : ".", slash && slash != path ? (size_t)(slash - path) : 1);
    if (!buf_ok(&dir))
        st = error_set(err, ST_NOMEM, "out of memory writing '%s'", path);
    else if (!sync_path(finished, O_RDONLY))
        st = error_set(err, ST_IO, "cannot write '%s': %s", finished, strerror(errno));
    else if (rename(finished, path) != 0)
        st = error_set(err, ST_IO, "cannot replace '%s': %s", path, strerror(errno));
    else if (!sync_path(buf_str(&dir), O_RDONLY | O_DIRECTORY))
        st = error_set(err, ST_IO, "cannot write folder '%s': %s", buf_str(&dir), strerror(errno));
    buf_release(&dir);
    return st;
}

bool file_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

bool file_is_dir(const char *path)
{
    struct stat sb;

    return stat(path, &sb) == 0 && S_ISDIR(sb.st_mode);
}

enum status file_make_dirs(const char *path, struct error *err)
{
    struct buf b = { 0 };
    enum status st = ST_OK;

    buf_puts(&b, path);
    if (!buf_ok(&b))
        return error_set(err, ST_NOMEM, "out of memory making '%s'", path);
    for (size_t i = 1; i <= b.len && st == ST_OK; i++) {
        char c = b.data[i];

        if (c != '/' && c != '\0')
            continue;
        b.data[i] = '\0';
        if (mkdir(b.data, 0777) != 0 && errno != EEXIST)
            st = error_set(err, ST_IO, "cannot make folder '%s': %s", b.data, strerror(errno));
        b.data[i] = c;
    }
    if (!st && !file_is_dir(path))
        st = error_set(err, ST_IO, "'%s' exists and is not a folder", path);
    buf_release(&b);
    return st;
}

/* ---- SHA-256 ---------------------------------------------------------------------------- */

struct sha256 {
    EVP_MD_CTX *ctx;
};

struct sha256 *sha256_new(void)
{
    struct sha256 *h = calloc(1, sizeof(*h));

    if (!h)
        return NULL;
    h->ctx = EVP_MD_CTX_new();
    if (!h->ctx || !EVP_DigestInit_ex(h->ctx, EVP_sha256(), NULL)) {
        ERR_clear_error(); /* libcrypto keeps a text on each, in blocks of the thread's */
        EVP_MD_CTX_free(h->ctx);
        free(h);
        return NULL;
    }
    return h;
}

void sha256_add(struct sha256 *h, const void *data, size_t len)
{
    if (h && len)
        EVP_DigestUpdate(h->ctx, data, len);
}

void sha256_add_str(struct sha256 *h, const char *s)
{
    uint64_t len = strlen(s);
    unsigned char le[8];

    for (int i = 0; i < 8; i++)
        le[i] = (unsigned char)(len >> (8 * i));
    sha256_add(h, le, sizeof(le));
    sha256_add(h, s, (size_t)len);
}

void sha256_finish(struct sha256 *h, char out[SHA256_HEX_SIZE])
{
    unsigned char md[EVP_MAX_MD_SIZE];
    unsigned n = 0;

    out[0] = '\0';
    if (!h)
        return;
    if (EVP_DigestFinal_ex(h->ctx, md, &n))
        for (unsigned i = 0; i < n && i < 32; i++)
            snprintf(out + 2 * i, 3, "%02x", md[i]);
    EVP_MD_CTX_free(h->ctx);
    free(h);
}

enum status sha256_hex(const void *data, size_t len, char out[SHA256_HEX_SIZE], struct error *err)
{
    struct sha256 *h = sha256_new();

    if (!h)
        return error_set(err, ST_NOMEM, "cannot start SHA-256");
    sha256_add(h, data, len);
    sha256_finish(h, out);
    return out[0] ? ST_OK : error_set(err, ST_INTERNAL, "cannot compute SHA-256");
}

enum status sha256_file(const char *path, char out[SHA256_HEX_SIZE], struct error *err)
{
    struct sha256 *h = NULL;
    unsigned char *block = NULL;
    enum status st = ST_OK;
    ssize_t n;
    int fd;

    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_set(err, errno_status(), "cannot open '%s': %s", path, strerror(errno));
    h = sha256_new();
    block = malloc(CHUNK);
    if (!h || !block) {
        st = error_set(err, ST_NOMEM, "out of memory hashing '%s'", path);
        goto out;
    }
    while ((n = read(fd, block, CHUNK)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            st = error_set(err, ST_IO, "cannot read '%s': %s", path, strerror(errno));
            goto out;
        }
        sha256_add(h, block, (size_t)n);
    }
out:
    sha256_finish(h, out);
    free(block);
    close(fd);
    return st;
}
