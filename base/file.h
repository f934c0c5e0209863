/*
 * Whole files: read (gzip transparently, by zlib), hash, replace atomically; path joining.
 */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/status.h"

/*
 * Read a whole regular file as its bytes are into *ret (cleared first; the caller releases).
 * Refuses more than max_bytes. ST_NOT_FOUND if it does not exist, ST_IO otherwise, ST_INVALID
 * if too large, ST_NOMEM; the message names the path.
 */
MUST_CHECK enum status file_read(const char *path, size_t max_bytes, struct buf *ret,
                                 struct error *err);

/* Inflate one or more gzip members held in memory into *ret (cleared first). `name` is for
 * messages. ST_INVALID on anything but whole members: truncation, a bad check sum, trailing
 * garbage, or more than max_bytes of output. */
MUST_CHECK enum status file_gunzip(const void *data, size_t len, const char *name, size_t max_bytes,
                                   struct buf *ret, struct error *err);

/* May a file be put at path? ST_IO: what is there is no regular file (a folder, /dev/null),
 * which replacing would destroy. The two below ask this first. */
MUST_CHECK enum status file_check_target(const char *path, struct error *err);

/* Write data to path by way of a temporary file in the same folder, fsync and rename: the old
 * file or the whole new one is there, never a part. */
MUST_CHECK enum status file_write_atomic(const char *path, const void *data, size_t len,
                                         struct error *err);

/* Make a finished file the one at path: fsync, then rename within the folder, fsync that too. */
MUST_CHECK enum status file_install(const char *finished, const char *path, struct error *err);

bool file_exists(const char *path);
bool file_is_dir(const char *path);

/* mkdir -p, mode 0777 less umask. */
MUST_CHECK enum status file_make_dirs(const char *path, struct error *err);

enum { SHA256_HEX_SIZE = 65 };

/* SHA-256 of bytes as 64 lower-case hex digits and a NUL. Aborts nothing: returns ST_INTERNAL
 * only if the library has no SHA-256. */
MUST_CHECK enum status sha256_hex(const void *data, size_t len, char out[SHA256_HEX_SIZE],
                                  struct error *err);

/* The same of a file's bytes, streamed. */
MUST_CHECK enum status sha256_file(const char *path, char out[SHA256_HEX_SIZE], struct error *err);

/* Incremental form: new, any number of adds, then finish (which frees). add accepts NULL. */
struct sha256;
struct sha256 *sha256_new(void); /* NULL when out of memory */
void sha256_add(struct sha256 *h, const void *data, size_t len);
void sha256_add_str(struct sha256 *h, const char *s); /* length-prefixed: no two lists collide */
void sha256_finish(struct sha256 *h, char out[SHA256_HEX_SIZE]);

#endif
